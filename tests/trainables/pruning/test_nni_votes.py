"""NNI's pruners as criteria: with the extra nni, and the sentence without it."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from trial_setup import PARENT, small_task

from raysearch import search_spaces as spaces
from raysearch.basics.extras import MissingExtra
from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.search_spaces.pruning.channel_pruning import NNI, NNI_TRAINED, PruningPlan
from raysearch.trainables.models.resnet import build_resnet
from raysearch.trainables.pruning import prune, prune_like
from raysearch.trainables.pruning.evidence import check_criterion
from raysearch.trainables.pruning.removal import History

with_nni = pytest.mark.skipif(not importlib.util.find_spec("nni"), reason="needs the extra nni")
X = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(96) % 10
RATIOS = {"stem": 0.5, "stage1": 0.5, "stage2": 0.3}


def model() -> nn.Module:
    torch.manual_seed(1)
    return build_resnet(ResNetPlan(16, (StagePlan(2, 16), StagePlan(1, 32))), 1, 10).eval()


def pruned(network: nn.Module, criterion: str, ratios: dict[str, float] | None = None) -> History:
    plan = PruningPlan(RATIOS if ratios is None else ratios, criterion, multiple=4)
    return prune(network, X[:2], plan, examples=TensorDataset(X, Y))


def widths(network: nn.Module) -> dict[str, Any]:
    return {name: p.shape for name, p in network.named_parameters()}


@with_nni
@pytest.mark.parametrize("criterion", NNI)
def test_a_pruner_leaves_the_widths_that_magnitude_leaves_and_other_channels_than_chance(
    criterion: str,
) -> None:
    found, magnitude, random = model(), model(), model()
    before = copy.deepcopy(found.state_dict())
    history = pruned(found, criterion)
    pruned(magnitude, "magnitude")
    assert widths(found) == widths(magnitude) != {n: p.shape for n, p in model().named_parameters()}
    assert history != pruned(random, "random")
    assert found(X).shape == (96, 10)
    # What stays has the weights that it had, and a replay gives the same network.
    again = model()
    again.load_state_dict(before)
    prune_like(again, X[:2], json.loads(json.dumps(history)))
    assert torch.equal(again(X), found(X))


@with_nni
def test_the_masks_of_one_layer_are_its_channels() -> None:
    from nni.compression.pruning import L1NormPruner

    network = model()
    history = dict(pruned(network, "nni_l1norm", {"stage1.0.conv1": 0.5}))
    wrapped = model()
    _, masks = L1NormPruner(wrapped, [{"op_names": ["stage1.0.conv1"], "sparse_ratio": 0.5}]).compress()
    kept = masks["stage1.0.conv1"]["weight"].flatten(1).any(1)
    assert history == {"stage1.0.conv1": (~kept).nonzero().flatten().tolist()}


@with_nni
def test_a_model_with_nothing_to_prune_is_left_as_it_is() -> None:
    network = model()
    names = [name for name, _ in network.named_modules()]
    assert pruned(network, "nni_agp", {"stem": 0.0}) == []
    assert [name for name, _ in network.named_modules()] == names
    assert not any(p.grad is not None for p in network.parameters())


@with_nni
def test_layers_of_one_axis_blocks_and_frozen_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv1d(2, 16, 3),
        nn.ReLU(),
        nn.Conv1d(16, 16, 3, groups=4),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    x, y = torch.randn(20, 2, 9), torch.arange(20) % 3
    groups = {"0": 0.5, "2": 0.5, "6": 0.5}
    for criterion in ("nni_level", "nni_fpgm", "nni_slim"):
        found = copy.deepcopy(network)
        prune(found, x, PruningPlan(groups, criterion, multiple=1), examples=TensorDataset(x, y))
        assert found(x).shape == (20, 3)
        assert found[6].out_features == 4
        assert not any(p.requires_grad for p in found.parameters())


@with_nni
def test_a_task_is_checked_for_what_training_needs() -> None:
    task = small_task()
    for criterion in NNI:
        check_criterion(task, task.build(task.decoded(PARENT["architecture"])), criterion)
    constant = small_task(loss=lambda outputs, targets: torch.zeros(()))
    with pytest.raises(ValueError, match="needs gradients, and the loss depends on none"):
        check_criterion(constant, constant.build(None), NNI_TRAINED[0])
    with pytest.raises(ValueError, match="'nni_slim' trains on examples, and none are given"):
        prune(model(), X[:2], PruningPlan(RATIOS, "nni_slim", multiple=4))


def test_without_nni_it_is_one_sentence_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nni", None)
    sentence = r'^nni is not installed: run `pip install "raysearch\[nni\]"`$'
    with pytest.raises(MissingExtra, match=sentence):
        spaces.channel_pruning(criterion=("magnitude", "nni_fpgm"))
    written = {"criterion": "nni_fpgm", "ratios": {"stem": 0.5}}
    with pytest.raises(MissingExtra, match=sentence):
        spaces.bind({"pruning": written, "architecture": spaces.resnet(stages=1)})
    task = small_task()
    with pytest.raises(MissingExtra, match=sentence):
        check_criterion(task, task.build(None), "nni_level")
    with pytest.raises(MissingExtra, match=sentence):
        pruned(model(), "nni_level")


def test_the_other_criteria_do_not_import_it() -> None:
    code = (
        "import sys, raysearch, raysearch.trainables.pruning, raysearch.trainables.models.nni_hub; "
        "print('nni' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"
