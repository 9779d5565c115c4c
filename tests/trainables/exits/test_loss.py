from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from raysearch.networks.exits import Exits
from raysearch.trainables.exits.loss import over_exits
from raysearch.trainables.training.distillation import distillation_loss


def test_both_outputs_are_weighed_and_others_are_left_alone() -> None:
    labels, early, last = torch.tensor([0, 2]), torch.randn(2, 3), torch.randn(2, 3)
    loss = over_exits(functional.cross_entropy, 0.5)
    one, other = functional.cross_entropy(early, labels), functional.cross_entropy(last, labels)
    assert loss(Exits(early, last), labels) == pytest.approx(float((other + 0.5 * one) / 1.5))
    assert loss(last, labels) == other


def test_a_teacher_teaches_both() -> None:
    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early, self.last = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> Exits:
            return Exits(self.early(x), self.last(x))

    student, teacher = Student(), nn.Linear(4, 3)
    loss = distillation_loss(
        over_exits(functional.cross_entropy, 0.5), teacher, temperature=2.0, weight=1.0, exit_weight=0.5
    )
    loss(student, torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)).backward()
    assert student.early.weight.grad is not None
    assert student.early.weight.grad.abs().sum() > 0
    assert student.last.weight.grad is not None
    assert student.last.weight.grad.abs().sum() > 0
    assert teacher.weight.grad is None
