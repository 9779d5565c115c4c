"""Examples mixed in pairs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raysearch.trainables.training.distillation import distillation_loss, plain_loss
from raysearch.trainables.training.mixup import check_mixable, mixed


def drawn(alpha: float, size: int) -> tuple[float, Tensor]:
    """What a batch draws after ``manual_seed(5)``."""
    torch.manual_seed(5)
    return float(torch.distributions.Beta(alpha, alpha).sample()), torch.randperm(size)


def test_inputs_and_losses_are_mixed_alike() -> None:
    module, x, y = nn.Linear(3, 4), torch.randn(6, 3), torch.randint(0, 4, (6,))
    share, order = drawn(0.4, 6)
    torch.manual_seed(5)
    found = mixed(plain_loss, functional.cross_entropy, 0.4)(module, x, y)
    outputs = module(share * x + (1 - share) * x[order])
    own, other = (functional.cross_entropy(outputs, t) for t in (y, y[order]))
    assert 0 < share < 1
    assert found.item() == pytest.approx((share * own + (1 - share) * other).item(), rel=1e-6)
    onehot = functional.one_hot(y, 4).float()
    soft = functional.cross_entropy(outputs, share * onehot + (1 - share) * onehot[order])
    assert found.item() == pytest.approx(soft.item(), rel=1e-6)  # as the paper has it


class Seen(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        self.given = inputs
        return {"one": self.layer(inputs["x"]), "two": inputs["x"].sum()[None]}


def test_nests_are_mixed_as_far_as_they_are_of_floats_and_along_the_batch() -> None:
    inputs = {"x": torch.randn(6, 3), "tokens": torch.arange(6), "scale": torch.tensor(2.0)}
    targets = {"one": torch.randn(6, 2), "names": list("abcdef"), "few": torch.randn(2)}
    seen: list[Any] = []

    def loss(outputs: Any, targets: Any) -> Tensor:
        seen.append(targets)
        return functional.mse_loss(outputs["one"], targets["one"])

    share, order = drawn(1.0, 6)
    torch.manual_seed(5)
    module = Seen()
    torch.manual_seed(5)
    mixed(plain_loss, loss, 1.0)(module, inputs, targets).backward()
    given = module.given
    assert torch.allclose(given["x"], share * inputs["x"] + (1 - share) * inputs["x"][order])
    assert given["tokens"] is inputs["tokens"]
    assert torch.allclose(given["scale"], inputs["scale"])
    own, other = seen
    assert own is targets
    assert torch.equal(other["one"], targets["one"][order])
    assert other["names"] == targets["names"]
    assert other["few"] is targets["few"]


def test_a_teacher_sees_what_the_student_sees() -> None:
    student, teacher = Seen(), Seen()
    make = partial(distillation_loss, teacher=teacher, temperature=2.0, weight=0.5)
    x, y = torch.randn(6, 3), {"one": torch.randn(6, 2)}
    mixed(make, lambda o, t: functional.mse_loss(o["one"], t["one"]), 0.2)(student, {"x": x}, y).backward()
    assert torch.equal(student.given["x"], teacher.given["x"])
    assert not torch.equal(student.given["x"], x)


def test_inputs_without_floats_cannot_be_mixed() -> None:
    check_mixable((torch.arange(3), torch.zeros(3)))
    with pytest.raises(
        ValueError, match=r"no input is of floats \(they are int64, bool\), and others cannot"
    ):
        check_mixable({"ids": torch.arange(3), "mask": torch.ones(3, dtype=torch.bool)})
