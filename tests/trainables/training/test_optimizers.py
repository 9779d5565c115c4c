"""Which parameters an optimiser has at which rate, and how gradients become steps."""

from __future__ import annotations

import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from raysearch.search_spaces.training import TrainingPlan, factor_of
from raysearch.trainables.quantization import fold_batch_norm, insert_quantizers
from raysearch.trainables.training.distillation import plain_loss
from raysearch.trainables.training.epoch import train_epoch
from raysearch.trainables.training.optimizers import Descent, Stepping, new_optimizer

LOSS = plain_loss(functional.cross_entropy)
ONE_BY_ONE = Stepping()


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    decayed, kept = new_optimizer(model, TrainingPlan(lr=0.1, weight_decay=0.5)).param_groups
    assert [p.dim() for p in decayed["params"]] == [4]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    assert len(kept["params"]) == 3


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_sgd_is_nesterovs_where_it_has_momentum(momentum: float) -> None:
    found = new_optimizer(nn.Linear(2, 2), TrainingPlan(optimizer="sgd", momentum=momentum))
    assert isinstance(found, torch.optim.SGD)
    assert {(g["momentum"], g["nesterov"]) for g in found.param_groups} == {(momentum, momentum > 0)}


def data(examples: int = 24) -> TensorDataset:
    torch.manual_seed(1)
    return TensorDataset(torch.randn(examples, 4), torch.randint(0, 3, (examples,)))


def fitted(plan: TrainingPlan, stepping: Stepping = ONE_BY_ONE, examples: int = 24) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    for epoch in range(3):
        train_epoch(
            module,
            data(examples),
            LOSS,
            new_optimizer(module, plan),
            batch_size=plan.batch_size,
            lr=lambda share: plan.lr * (1 - share / 2),
            generator=torch.Generator().manual_seed(epoch),
            stepping=stepping,
        )
    return module


def test_by_default_it_trains_as_it_always_did() -> None:
    """Against the loop of 0.1.0, to the bit."""
    plan = TrainingPlan(batch_size=8)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    for epoch in range(3):
        weights = [p for p in module.parameters() if p.dim() > 1]
        others = [p for p in module.parameters() if p.dim() <= 1]
        groups = [{"params": weights, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=plan.lr)
        x, y = data().tensors
        for i, rows in enumerate(torch.randperm(24, generator=torch.Generator().manual_seed(epoch)).split(8)):
            for group in optimizer.param_groups:
                group["lr"] = plan.lr * (1 - i * 8 / 24 / 2)
            optimizer.zero_grad()
            functional.cross_entropy(module(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
    found = fitted(plan)
    assert all(torch.equal(*pair) for pair in zip(found.parameters(), module.parameters(), strict=True))


def difference(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("examples", [24, 18])
def test_steps_of_several_batches_are_those_of_larger_ones(optimizer: str, examples: int) -> None:
    """With 18 examples the last step is of a whole batch and half of one."""
    found = []
    for size, number in ((4, 1), (4, 3), (12, 1)):
        torch.manual_seed(0)
        module = nn.Linear(4, 3)
        train_epoch(
            module,
            data(examples),
            LOSS,
            new_optimizer(module, TrainingPlan(optimizer=optimizer)),
            batch_size=size,
            lr=lambda share: 0.1,
            generator=torch.Generator().manual_seed(0),
            stepping=Stepping(accumulate=number),
        )
        found.append(module)
    assert difference(found[1], found[2]) < 1e-6
    assert difference(found[0], found[2]) > 1e-3


def steps_of(examples: int, accumulate: int) -> int:
    taken: list[int] = []
    stepping = Stepping(accumulate=accumulate, after=lambda: taken.append(1))
    fitted(TrainingPlan(batch_size=4), stepping, examples)
    return len(taken) // 3


def test_an_incomplete_group_of_batches_is_a_step_of_its_own() -> None:
    assert [steps_of(24, n) for n in (1, 2, 4, 6, 7)] == [6, 3, 2, 1, 1]


def gradient_norm(clip_norm: float) -> float:
    module = nn.Linear(2, 1)
    descent = Descent(module, torch.optim.SGD(module.parameters(), lr=0.0), Stepping(clip_norm))
    descent.take(1e3 * module(torch.ones(1, 2)).sum(), 1)
    return float(nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None]))


def test_gradients_are_clipped_unless_the_norm_is_0() -> None:
    assert gradient_norm(5.0) == pytest.approx(5, rel=1e-4)
    assert gradient_norm(0.5) == pytest.approx(0.5, rel=1e-4)
    assert gradient_norm(0.0) > 1e3


def rates(module: nn.Module, layer_lr: dict[str, float]) -> dict[str, float]:
    optimizer = new_optimizer(module, TrainingPlan(layer_lr=layer_lr))
    Descent(module, optimizer, Stepping()).set_rate(1.0)
    by_parameter = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: by_parameter[p] for name, p in module.named_parameters()}


@pytest.mark.parametrize("kind", ["resnet", "tied_text", "masked_encoder", "lstm"])
def test_layers_have_their_rates_in_float_and_in_the_captured_graph(kind: str) -> None:
    network = zoo.network(kind)
    layer = next(name for name, m in network.named_modules() if name and list(m.parameters(recurse=False)))
    part = layer.partition(".")[0]
    factors = {part: 0.25, layer: 0.0} if part != layer else {part: 0.25}
    assert rates(network, factors) == {n: factor_of(n, factors) for n, _ in network.named_parameters()}
    folded = fold_batch_norm(zoo.captured(kind))
    quantized = insert_quantizers(folded, zoo.uniform(folded, 8, 8))
    found = rates(quantized, factors)
    assert {rate for name, rate in found.items() if name.startswith(layer)} == {factors[layer]}
    assert {rate for name, rate in found.items() if name.startswith("quantize_")} <= {1.0}
    assert 1.0 in found.values()


def test_a_part_of_rate_0_stays_as_it_is() -> None:
    plan = TrainingPlan(lr=0.1, weight_decay=0.5, batch_size=8, layer_lr={"0": 0.0})
    torch.manual_seed(0)
    before: Tensor = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))[0].weight
    module = fitted(plan)
    assert torch.equal(module[0].weight, before)  # type: ignore[index]
    assert not torch.equal(module[2].weight, fitted(TrainingPlan(lr=0.2))[2].weight)  # type: ignore[index]
