"""Half precision: what is computed in it, what is not, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from trial_setup import small_task

from raysearch.networks.nests import Nest, call
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers
from raysearch.trainables.quantization.quantizer import Quantizer
from raysearch.trainables.task import Task
from raysearch.trainables.training import precision
from raysearch.trainables.training.distillation import plain_loss
from raysearch.trainables.training.optimizers import Descent, Stepping
from raysearch.trainables.training.precision import (
    HALF,
    check_device,
    check_precision,
    gradient_scaler,
    in_precision,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", HALF)
def test_layers_compute_in_half_precision_and_losses_do_not(name: str) -> None:
    module, seen = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)), []
    module[1].register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))

    def loss(outputs: Nest, targets: Nest) -> Tensor:
        seen.extend([outputs["logits"].dtype, torch.is_autocast_enabled("cpu")])
        return functional.cross_entropy(outputs["logits"], targets)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = module

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"logits": self.body(x), "count": torch.ones(2, dtype=torch.int64), "nothing": None}

    value = plain_loss(loss, in_precision(call, name, CPU))(Named(), torch.randn(2, 4), torch.tensor([0, 1]))
    value.backward()
    assert seen == [HALF[name], torch.float32, False]
    assert value.dtype == module[0].weight.grad.dtype == torch.float32
    assert in_precision(call, "float32", CPU) is call


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("kind", ["resnet", "masked_encoder", "text"])
def test_a_quantised_graph_has_nearly_the_gradients_of_float32(kind: str, name: str) -> None:
    folded = fold_batch_norm(zoo.captured(kind))
    quantized = insert_quantizers(folded, zoo.uniform(folded, 8, 8))
    calibrate(quantized, [zoo.NETWORKS[kind].inputs(8)])
    steps = []
    for quantizer in quantized.modules():
        if isinstance(quantizer, Quantizer):
            quantizer.register_forward_hook(lambda q, _, y: steps.append(y / q._along(q.step(), y)))
    found = []
    for forward in (call, in_precision(call, name, CPU)):
        quantized.zero_grad()
        forward(quantized, zoo.NETWORKS[kind].inputs(4)).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in quantized.parameters() if p.grad is not None]))
    assert all(s.dtype == torch.float32 and torch.allclose(s, s.round(), atol=1e-3) for s in steps)
    assert 0 < float((found[1] - found[0]).norm()) < 0.1 * float(found[0].norm())


def test_only_float16_has_its_gradients_scaled() -> None:
    assert gradient_scaler("float32", CPU) is None
    assert gradient_scaler("bf16", CPU) is None
    module = nn.Linear(1, 1, bias=False)
    scaler = gradient_scaler("fp16", CPU)
    assert scaler is not None
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    descent = Descent(module, optimizer, Stepping(clip_norm=0.5, scaler=scaler))
    before = module.weight.item()
    descent.take(module(torch.ones(1, 1)).sum(), 1)
    assert module.weight.item() == pytest.approx(before - 0.5, abs=1e-3)  # clipped as it is, not as scaled
    scale = scaler.get_scale()
    descent.take(module(torch.ones(1, 1)).sum() * torch.inf, 1)  # no step, and a smaller scale
    assert module.weight.item() == pytest.approx(before - 0.5, abs=1e-3)
    assert scaler.get_scale() < scale


class Pairs(nn.Module):
    """A bilinear layer, which torch's autocast does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.both = nn.Linear(4, 4), nn.Bilinear(4, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return self.both(y, y)  # type: ignore[no-any-return]


def task(model: nn.Module, **changes: Any) -> Task:
    examples = TensorDataset(torch.randn(4, 4), torch.tensor([0, 1, 0, 1]))
    return Task(model, examples, examples, examples, **changes)


@pytest.mark.parametrize("name", HALF)
def test_a_network_without_the_operators_is_refused(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"training/precision is '{name}', in which the network cannot be trained"
    ):
        check_precision(task(Pairs()), None, name, CPU)
    check_precision(task(Pairs()), None, "float32", CPU)
    check_precision(task(nn.Linear(4, 2)), None, name, CPU)


def test_what_does_not_run_at_all_is_for_others_to_refuse() -> None:
    check_precision(task(nn.Linear(5, 2)), None, "bf16", CPU)


def test_a_gpu_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.torch.cuda, "is_bf16_supported", lambda emulated: False)
    monkeypatch.setattr(precision.torch.cuda, "get_device_name", lambda device: "GTX 1080")
    with pytest.raises(
        ValueError, match=r"'bf16', which the GPU \(GTX 1080\) does not have: give 'fp16' or 'flo"
    ):
        check_precision(small_task(), None, "bf16", torch.device("cuda"))
    check_device("fp16", torch.device("cuda"))
    check_device("bf16", CPU)
