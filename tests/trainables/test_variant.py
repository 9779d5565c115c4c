from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import TensorDataset

from raysearch.networks.capture import capture
from raysearch.networks.nests import tensors
from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.plans import TrialPlan
from raysearch.search_spaces.pruning.channel_pruning import PruningPlan
from raysearch.trainables.pruning import prune
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers
from raysearch.trainables.task import Task
from raysearch.trainables.variant import described, example_of, load_variant, save_variant

Uniform = Callable[[int, int], BitWidthPlan]


def _task(model: nn.Module, inputs: Tensor) -> Task:
    data = TensorDataset(inputs, torch.arange(len(inputs)) % 10)
    return Task(model=model, train=data, validation=data, test=data, name="squares")


def _deployed(
    model: nn.Module, bits: BitWidthPlan, inputs: Tensor, weight_bits: int = 8, unsigned_bits: int = 8
) -> nn.Module:
    folded = fold_batch_norm(capture(model, inputs[:2]))
    if not bits.quantized:
        return folded
    module = insert_quantizers(folded, bits, weight_bits=weight_bits, unsigned_bits=unsigned_bits)
    calibrate(module, [inputs])
    return module


@pytest.mark.parametrize("bits", [(8, 8), (2, 4), (16, 32), (32, 32)])
@pytest.mark.parametrize("pruned", [True, False])
def test_a_searched_network_is_rebuilt_from_its_folder_alone(
    network: nn.Module,
    resnet_plan: ResNetPlan,
    uniform: Uniform,
    inputs: Tensor,
    tmp_path: Path,
    bits: tuple[int, int],
    pruned: bool,
) -> None:
    task = _task(network, inputs)
    plan = TrialPlan(architecture=resnet_plan, bits=uniform(*bits))
    history = None
    if pruned:
        history = prune(network, inputs[:2], PruningPlan({"stage1": 0.5, "stage2": 0.5}, "magnitude", 4))
        assert history
    module = _deployed(network, plan.bits, inputs)
    save_variant(tmp_path, module, plan, task=task, history=history)
    assert torch.equal(load_variant(tmp_path)(inputs), module(inputs))
    assert not load_variant(tmp_path).training
    json.loads((tmp_path / "spec.json").read_text())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spec.json", "weights.safetensors"]


def test_weights_within_seven_bits_are_rebuilt_so(
    network: nn.Module, resnet_plan: ResNetPlan, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    plan = TrialPlan(architecture=resnet_plan, bits=uniform(8, 8))
    module = _deployed(network, plan.bits, inputs, weight_bits=7)
    save_variant(tmp_path, module, plan, task=_task(network, inputs), weight_bits=7)
    assert torch.equal(load_variant(tmp_path)(inputs), module(inputs))


def test_activations_within_seven_bits_are_rebuilt_so(
    network: nn.Module, resnet_plan: ResNetPlan, uniform: Uniform, inputs: Tensor, tmp_path: Path
) -> None:
    plan = TrialPlan(architecture=resnet_plan, bits=uniform(8, 8))
    module = _deployed(network, plan.bits, inputs, unsigned_bits=7)
    save_variant(tmp_path, module, plan, task=_task(network, inputs), unsigned_bits=7)
    assert torch.equal(load_variant(tmp_path)(inputs), module(inputs))


class _Own(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width)
        self.last, self.pool = nn.Conv2d(width, 4, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.last(torch.relu(self.bn(self.conv(x))))).flatten(1)  # type: ignore[no-any-return]


@pytest.fixture
def own(tmp_path: Path, inputs: Tensor) -> nn.Module:
    """A user's own model, pruned and quantised, and saved."""
    model = _Own().eval()
    history = prune(model, inputs[:2], PruningPlan({"conv": 0.5}, "magnitude", 1))
    plan = TrialPlan(bits=BitWidthPlan({"conv": 8, "last": 4}, {"conv": 8, "last": 8}))
    module = _deployed(model, plan.bits, inputs)
    save_variant(tmp_path, module, plan, task=_task(model, inputs), history=history)
    return module


def test_a_users_model_is_rebuilt_from_itself_or_its_builder(
    own: nn.Module, inputs: Tensor, tmp_path: Path
) -> None:
    given = _Own()
    assert torch.equal(load_variant(tmp_path, given)(inputs), own(inputs))
    assert given.conv.out_channels == 8  # left as it was
    for made_by in (lambda plan: _Own(), lambda: _Own(), _Own):
        assert torch.equal(load_variant(tmp_path, made_by)(inputs), own(inputs))


def test_a_users_model_must_be_given_and_be_the_right_one(own: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model of your own: give it as model="):
        load_variant(tmp_path)
    with pytest.raises(ValueError, match=r"another model: 'conv\.bias"):
        load_variant(tmp_path, _Own(width=16))


def test_another_version_of_the_spec_is_refused(own: nn.Module, tmp_path: Path) -> None:
    spec = json.loads((tmp_path / "spec.json").read_text())
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "version": 99}))
    with pytest.raises(
        ValueError, match="version 99, this raysearch rebuilds 2: run the model file beside it"
    ):
        load_variant(tmp_path, _Own())


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere holds no variant: give a folder such as"):
        load_variant(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "inputs",
    [
        torch.ones(3, 1, 8, 8),
        {"ids": torch.ones(3, 5, dtype=torch.int64), "mask": torch.ones(3, 5, dtype=torch.bool)},
        (torch.ones(3, 2, dtype=torch.uint8), {"half": torch.ones(3, dtype=torch.float16)}),
    ],
)
def test_inputs_are_described_and_made_again(inputs: Any) -> None:
    made = example_of(json.loads(json.dumps(described(inputs))))
    assert pytree.tree_structure(made) == pytree.tree_structure(inputs)
    for tensor, like in zip(tensors(made), tensors(inputs), strict=True):
        assert (tensor.shape, tensor.dtype) == ((2, *like.shape[1:]), like.dtype)
