from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from raysearch.trainables.distillation import distillation_loss, plain_loss
from raysearch.trainables.training import TrainingDiverged, batches, cosine, train_epoch


class Pairs(Dataset):
    """The same examples as a TensorDataset, one by one."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


def data(n=10):
    return torch.arange(2.0 * n).view(n, 2), torch.arange(n) % 3


@pytest.mark.parametrize("kind", [TensorDataset, Pairs])
def test_batches_hold_every_example_once(kind):
    x, y = data()
    parts = list(batches(kind(x, y), 4, torch.Generator().manual_seed(0)))
    assert [len(p[0]) for p in parts] == [4, 4, 2]
    order = torch.cat([p[0] for p in parts])[:, 0].argsort()
    assert torch.equal(torch.cat([p[0] for p in parts])[order], x)
    assert torch.equal(torch.cat([p[1] for p in parts])[order], y)


def test_without_a_generator_the_order_is_the_data_sets():
    x, y = data()
    assert torch.equal(torch.cat([p[0] for p in batches(TensorDataset(x, y), 4)]), x)


def test_the_learning_rate_rises_then_falls_to_nothing():
    rates = [cosine(i / 100) for i in range(101)]
    assert max(rates) == pytest.approx(1)
    assert rates[0] < rates[3] < rates[5]
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def fit(loss, epochs=5, lr=0.1, seed=0):
    torch.manual_seed(seed)
    module = nn.Linear(2, 3)
    x, y = torch.randn(60, 2), torch.randint(0, 3, (60,))
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
    losses = [
        train_epoch(
            module,
            TensorDataset(x, y),
            loss,
            optimizer,
            batch_size=16,
            lr=lambda share: lr,
            generator=torch.Generator().manual_seed(seed + epoch),
        )
        for epoch in range(epochs)
    ]
    return module, losses, x


def test_training_lowers_the_loss_and_repeats():
    first, losses, _ = fit(plain_loss(functional.cross_entropy))
    again, _, _ = fit(plain_loss(functional.cross_entropy))
    assert losses[-1] < losses[0]
    assert torch.equal(first.weight, again.weight)


def test_a_loss_that_is_not_finite_is_said():
    with pytest.raises(TrainingDiverged, match="nan at a learning rate of"):
        fit(lambda module, x, y: module(x).sum() * float("nan"))


def test_the_student_comes_to_the_teacher():
    torch.manual_seed(9)
    teacher = nn.Linear(2, 3).train()
    before = teacher.weight.clone()
    loss = distillation_loss(functional.cross_entropy, teacher, temperature=2.0, weight=1.0)
    student, losses, x = fit(loss, epochs=60)
    assert losses[-1] < 0.01 * losses[0]
    assert torch.equal(student(x).argmax(1), teacher(x).argmax(1))
    assert torch.equal(teacher.weight, before)
    assert not teacher.training


def test_without_weight_the_teacher_says_nothing():
    torch.manual_seed(9)
    deaf = distillation_loss(functional.cross_entropy, nn.Linear(2, 3), temperature=2.0, weight=0.0)
    module, x, y = nn.Linear(2, 3), *(torch.randn(8, 2), torch.randint(0, 3, (8,)))
    expected = plain_loss(functional.cross_entropy)(module, x, y)
    assert deaf(module, x, y).item() == pytest.approx(expected.item())
