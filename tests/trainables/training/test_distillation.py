"""What a teacher teaches, against NumPy written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from raysearch.trainables.training.distillation import distillation_loss, plain_loss, teachers_term
from raysearch.trainables.training.epoch import train_epoch


def outputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def divergence(student, teacher, temperature, axis):
    """The mean over positions of sum p log(p / q), with p the teacher's, softened; times T squared."""
    s, t = (np.moveaxis(x.double().numpy(), axis, -1).reshape(-1, x.shape[axis]) for x in (student, teacher))
    total = 0.0
    for row_s, row_t in zip(s, t, strict=True):
        p, q = (np.exp(row / temperature) / np.exp(row / temperature).sum() for row in (row_t, row_s))
        total += float((p * np.log(p / q)).sum())
    return temperature**2 * total / len(s)


def squared(student, teacher):
    return float(np.mean((student.double().numpy() - teacher.double().numpy()) ** 2))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(
    ("shape", "labels", "axis"),
    [
        ((6, 5), (6,), 1),
        ((2, 5, 4, 3), (2, 4, 3), 1),  # segmentation
        ((2, 5, 7), (2, 7), 1),  # classes over a sequence
        ((2, 7, 5), (2, 7), 2),  # the same with the classes last, as transformers have them
    ],
)
def test_logits_of_classes_are_compared_by_divergence(shape, labels, axis, temperature):
    student, teacher = outputs(*shape), outputs(*shape, seed=1)
    found = teachers_term(student, teacher, torch.zeros(labels, dtype=torch.int64), temperature)
    assert float(found) == pytest.approx(divergence(student, teacher, temperature, axis), rel=1e-5)


def test_the_term_does_not_grow_with_the_image():
    student, teacher = outputs(2, 5, 4, 4), outputs(2, 5, 4, 4, seed=1)
    small = teachers_term(student, teacher, torch.zeros(2, 4, 4, dtype=torch.int64), 2.0)
    large = (x.repeat(1, 1, 3, 3) for x in (student, teacher))
    assert float(teachers_term(*large, torch.zeros(2, 12, 12, dtype=torch.int64), 2.0)) == pytest.approx(
        float(small), rel=1e-5
    )


@pytest.mark.parametrize(
    ("shape", "targets"),
    [
        ((6,), torch.zeros(6)),  # regression, or the logit of a binary choice
        ((6, 1), torch.zeros(6, 1)),
        ((6, 1), torch.zeros(6, dtype=torch.int64)),  # a softmax over one column would say nothing
        ((6, 3), torch.zeros(6, 3)),
        ((6, 3), torch.zeros(6, 3, dtype=torch.int64)),  # several labels at once
        ((6,), torch.zeros(6, dtype=torch.int64)),
        ((2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)),
    ],
)
def test_all_else_is_compared_by_squared_error_at_any_temperature(shape, targets):
    student, teacher = outputs(*shape), outputs(*shape, seed=1)
    for temperature in (1.0, 4.0):
        found = teachers_term(student, teacher, targets, temperature)
        assert float(found) == pytest.approx(squared(student, teacher), rel=1e-5)


def test_of_several_outputs_each_is_compared_by_its_own_target():
    student = {"kind": outputs(6, 5), "box": outputs(6, 4), "count": torch.ones(6, dtype=torch.int64)}
    teacher = {"kind": outputs(6, 5, seed=1), "box": outputs(6, 4, seed=1), "count": torch.zeros(6).long()}
    targets = {"kind": torch.zeros(6, dtype=torch.int64), "box": torch.zeros(6, 4)}
    each = [
        divergence(student["kind"], teacher["kind"], 2.0, 1),
        squared(student["box"], teacher["box"]),
    ]
    assert float(teachers_term(student, teacher, targets, 2.0)) == pytest.approx(np.mean(each), rel=1e-5)
    pairs = [tuple(nest.values())[:2] for nest in (student, teacher, targets)]
    assert float(teachers_term(*pairs, 2.0)) == pytest.approx(np.mean(each), rel=1e-5)


def test_a_lone_target_belongs_to_every_output_of_its_shape():
    student, teacher = (outputs(6, 5), outputs(6, 8)), (outputs(6, 5, seed=1), outputs(6, 8, seed=1))
    each = [divergence(s, t, 2.0, 1) for s, t in zip(student, teacher, strict=True)]
    labels = torch.zeros(6, dtype=torch.int64)
    assert float(teachers_term(student, teacher, labels, 2.0)) == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (outputs(6, 5), outputs(6, 4), r"have shapes \[\(6, 5\)\] and the teacher's \[\(6, 4\)\]"),
        (torch.zeros(6, dtype=torch.int64), torch.zeros(6, dtype=torch.int64), "no output is of floats"),
    ],
)
def test_what_cannot_be_compared_is_said(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        teachers_term(student, teacher, torch.zeros(6, dtype=torch.int64), 2.0)


def fit(loss, targets, epochs=60):
    torch.manual_seed(0)
    x = torch.randn(60, 2)
    student = nn.Linear(2, 3 if targets.dtype is torch.int64 else 1)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.1)
    losses = [
        train_epoch(
            student,
            TensorDataset(x, targets),
            loss,
            optimizer,
            batch_size=16,
            lr=lambda share: 0.1,
            generator=torch.Generator().manual_seed(epoch),
        )
        for epoch in range(epochs)
    ]
    return student, losses, x


def test_the_student_comes_to_the_teacher():
    torch.manual_seed(9)
    teacher = nn.Linear(2, 3).train()
    before = teacher.weight.clone()
    loss = distillation_loss(functional.cross_entropy, teacher, temperature=2.0, weight=1.0)
    student, losses, x = fit(loss, torch.randint(0, 3, (60,)))
    assert losses[-1] < 0.01 * losses[0]
    assert torch.equal(student(x).argmax(1), teacher(x).argmax(1))
    assert torch.equal(teacher.weight, before)
    assert not teacher.training


def test_a_regressor_comes_to_its_teacher():
    torch.manual_seed(9)
    teacher = nn.Linear(2, 1)
    loss = distillation_loss(functional.mse_loss, teacher, temperature=2.0, weight=1.0)
    student, _, x = fit(loss, torch.zeros(60, 1))
    assert torch.allclose(student(x), teacher(x), atol=0.02)


def test_without_weight_the_teacher_says_nothing():
    torch.manual_seed(9)
    deaf = distillation_loss(functional.cross_entropy, nn.Linear(2, 3), temperature=2.0, weight=0.0)
    module, x, y = nn.Linear(2, 3), *(torch.randn(8, 2), torch.randint(0, 3, (8,)))
    expected = plain_loss(functional.cross_entropy)(module, x, y)
    assert deaf(module, x, y).item() == pytest.approx(expected.item())


def test_a_tasks_own_term_takes_the_place_of_the_default():
    module, teacher = nn.Linear(2, 3), nn.Linear(2, 3)
    x, y = torch.randn(8, 2), torch.randint(0, 3, (8,))

    def term(student, taught, temperature):
        return temperature * (student - taught).abs().max()

    loss = distillation_loss(functional.cross_entropy, teacher, temperature=3.0, weight=0.25, term=term)
    own = functional.cross_entropy(module(x), y)
    expected = 0.75 * own + 0.25 * 3 * (module(x) - teacher(x)).abs().max()
    assert loss(module, x, y).item() == pytest.approx(expected.item())


def test_mappings_are_a_models_keywords():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    inputs = {"b": torch.ones(2, 3), "a": torch.zeros(2, 3)}
    assert float(plain_loss(lambda out, y: (out - y).sum())(Sum(), inputs, torch.zeros(2, 3))) == 6
