from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from raysearch.trainables.training.distillation import plain_loss
from raysearch.trainables.training.epoch import TrainingDiverged, train_epoch
from raysearch.trainables.training.schedule import cosine


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


def test_where_nothing_is_trained_no_step_is_taken():
    module = nn.Linear(2, 3).requires_grad_(False)
    before = module.weight.clone()
    loss = train_epoch(
        module,
        TensorDataset(torch.randn(6, 2), torch.zeros(6, dtype=torch.int64)),
        plain_loss(functional.cross_entropy),
        torch.optim.AdamW([{"params": module.parameters()}], lr=0.1, weight_decay=0.5),
        batch_size=4,
        lr=lambda share: 0.1,
        generator=torch.Generator().manual_seed(0),
    )
    assert loss > 0
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (2, 2), (3, 2), (4, 1)])
def test_a_single_example_is_left_out_only_where_batches_are_larger(batch_size, steps):
    module, seen = nn.Linear(2, 3), []

    def loss(module, x, y):
        seen.append(len(x))
        return functional.cross_entropy(module(x), y)

    train_epoch(
        module,
        TensorDataset(torch.randn(5, 2), torch.zeros(5, dtype=torch.int64)),
        loss,
        torch.optim.AdamW(module.parameters()),
        batch_size=batch_size,
        lr=lambda share: 0.1,
        generator=torch.Generator().manual_seed(0),
    )
    assert len(seen) == steps


def test_inputs_of_any_form_are_trained_on():
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 1)

        def forward(self, ids, mask):
            return {"score": (self.table(ids)[..., 0] * mask).sum(1)}

    torch.manual_seed(0)
    module = Embedded()
    ids, mask = torch.randint(0, 5, (40, 3)), torch.ones(40, 3)
    examples = [({"ids": i, "mask": m}, i.sum().float()) for i, m in zip(ids, mask, strict=True)]
    losses = [
        train_epoch(
            module,
            examples,
            plain_loss(lambda outputs, targets: functional.mse_loss(outputs["score"], targets)),
            torch.optim.SGD(module.parameters(), lr=0.05),
            batch_size=8,
            lr=lambda share: 0.05,
            generator=torch.Generator().manual_seed(epoch),
            augment=lambda inputs: {"ids": inputs["ids"], "mask": inputs["mask"]},
        )
        for epoch in range(40)
    ]
    assert losses[-1] < 0.01 * losses[0]
    assert torch.allclose(module.table.weight[:, 0], torch.arange(5.0), atol=0.2)
