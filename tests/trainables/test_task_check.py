"""What a task's check accepts, and what it refuses in one sentence."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from raysearch.trainables.task import Task
from raysearch.trainables.task_check import check_task, form

LABELS = torch.arange(20) % 3
X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))


def make(targets=LABELS, x=X, model=None, **changes):
    splits = {split: TensorDataset(x, targets) for split in ("train", "validation", "test")}
    return Task(**{"model": model or nn.Linear(4, 3), **splits, **changes})


def regression(**changes):
    given = {"loss": functional.mse_loss, "metrics": {"mae": lambda o, t: (o - t).abs().mean()}}
    return make(torch.rand(20, 1), model=nn.Linear(4, 1), **{**given, **changes})


def with_value(x, row, value):
    x = x.clone()
    x[row, 0] = value
    return x


class Fixed(nn.Module):
    """Gives what it is told."""

    def __init__(self, give):
        super().__init__()
        self.layer, self.give = nn.Linear(4, 3), give

    def forward(self, x):
        return self.give(self.layer(x))


class Every(nn.Module):
    """A running metric that needs every class."""

    def reset(self):
        self.seen = set()

    def update(self, outputs, targets):
        self.seen |= set(targets.tolist())

    def compute(self):
        return {0: 0.0, 3: 1.0}[len(self.seen)]


class Equal(Every):
    """Compares as some metrics' classes do: the result is an object."""

    __hash__ = None

    def __eq__(self, other):
        return [self, other]

    def update(self, outputs, targets):
        pass

    def compute(self):
        return 1.0


LENGTHS = [(torch.rand(k, 4), k % 3) for k in (5, 3, 4) * 7]


def padded(rows):
    x, labels = zip(*rows, strict=True)
    return nn.utils.rnn.pad_sequence(list(x), batch_first=True), torch.tensor(labels)


class Mean(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return super().forward(x.mean(1))


class Unreadable(Dataset):
    """Examples of which one cannot be read."""

    def __init__(self, at):
        self.at = at

    def __len__(self):
        return 60

    def __getitem__(self, i):
        return {i: (X[0], 0) for i in range(60) if i != self.at}[i]


def one_class_first():
    x = X.repeat(20, 1)
    return TensorDataset(x, torch.arange(400) // 134)


@pytest.mark.parametrize(
    "task",
    [
        make(),
        regression(),
        make(torch.where(LABELS == 2, -100, LABELS)),  # torch's cross entropy leaves these out
        make(functional.one_hot(LABELS, 3).float(), metrics={"first": lambda o, t: o[0, 0]}),  # probabilities
        make(LABELS.view(20, 1).expand(20, 5), x=torch.rand(20, 4, 5), model=nn.Conv1d(4, 3, 1)),
        make(
            model=Fixed(lambda y: {"y": y}),
            loss=lambda o, t: o["y"].mean(),
            metrics={"m": lambda o, t: 1.0},
        ),
        make(model=nn.Linear(4, 3).requires_grad_(False)),
        make(x=with_value(X, 3, -math.inf), model=nn.Sequential(nn.Sigmoid(), nn.Linear(4, 3))),
        make(
            x=X[:1].repeat(1, 1), targets=LABELS[:1], model=nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
        ),
        make(metrics={"every": Every()}, validation=one_class_first()),
        make(metrics={"nan": lambda o, t: math.nan}),
        make(torch.rand(20), loss=lambda o, t: o.mean(), metrics={"equal": Equal()}),
        make(loss=lambda o, t: functional.cross_entropy(o[8:], t[8:])),  # none of the first eight examples
        make(augment=lambda x: x + 1, distillation=lambda s, t, temperature: (s - t).abs().mean()),
    ],
)
def test_what_works_passes(task):
    check_task(task)


def test_an_axis_that_the_task_names_may_vary():
    splits = {"train": LENGTHS, "validation": LENGTHS, "test": LENGTHS}
    check_task(make(model=Mean(), collate=padded, varying={"input": {1: "length"}}, **splits))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            make(LABELS + 1),
            r"train: labels go from 1 to 3, and the model has 3 outputs: they must be 0 to 2",
        ),
        (make(test=TensorDataset(X, LABELS - 1)), r"test: labels go from -1 to 1"),
        (
            make(LABELS.float()),
            r"train: the targets are float32 \(8,\), .* default loss is of class indices, int64",
        ),
        (make(LABELS.float(), loss=lambda o, t: o.mean()), r"the default metric is of class indices"),
        (make(LABELS.int()), r"the targets are int32 \(8,\)"),
        (make(LABELS.view(20, 1)), r"the targets are int64 \(8, 1\)"),
        (
            make(functional.one_hot(LABELS, 3).float()),
            r"the default metric is of class indices, int64 \(8,\)",
        ),
        (
            make(model=Fixed(lambda y: {"y": y})),
            r"the model gives {'y': float32 \(8, 3\)}, .* default loss is of",
        ),
        (make(model=Fixed(lambda y: y[:, 0])), r"the model gives float32 \(8,\), .* logits"),
        (make(model=Fixed(lambda y: "logits")), "the model gives str, which holds no tensor"),
        (make(x=with_value(X, 13, math.nan)), "train: example 13 has NaN or an infinity in input"),
        (make(validation=TensorDataset(with_value(X, 0, math.inf), LABELS)), "validation: example 0 has NaN"),
        (
            make(model=nn.Linear(5, 3)),
            r"\(Linear\) fails at the operator 'linear' on an input of shape \(8, 4\)",
        ),
        (
            make(loss=lambda o, t: (o.mean() - o.mean()) / 0),
            "loss gives nan on the first 20 examples of train",
        ),
        (regression(loss=lambda o, t: o - t), r"loss gives float32 \(8, 1\): it must give a tensor of one"),
        (
            regression(loss=lambda o, t: float((o - t).mean())),
            "loss gives float: it must give a tensor of one",
        ),
        (regression(loss=lambda o, t: t.mean()), "does not depend on the model's weights"),
        (
            regression(loss=lambda o, t: o[0, 9]),
            r"loss, on outputs float32 \(8, 1\) and targets .* fails: IndexError",
        ),
        (regression(augment=lambda x: x[:, :2]), r"augment makes float32 \(8, 2\) of float32 \(8, 4\)"),
        (regression(augment=lambda x: x.double()), r"augment makes float64 \(8, 4\) of float32"),
        (regression(distillation=lambda s, t, temperature: s), "distillation gives float32"),
        (
            regression(metrics={"m": lambda o, t: {"f1": 1.0}}),
            r"metrics\['m'\] gives a dict: it must give one",
        ),
        (
            regression(metrics={"m": lambda o, t: o + t.T}),
            r"metrics\['m'\] gives a Tensor of shape \(16, 16\)",
        ),
        (regression(metrics={"m": lambda o, t: o[0, 9]}), r"metrics\['m'\], on outputs .* fails: IndexError"),
        (
            make(model=Mean(), collate=padded, train=LENGTHS, validation=LENGTHS, test=LENGTHS),
            r"axis 1 of input has the size 5 in one batch and 3 in another: name it, as by "
            r"varying=\{'input': \{1: 'length'\}\}",
        ),
        (
            make(train=Unreadable(20)),
            r"reading the examples of train fails: KeyError: 20 \(test_task_check.py, line \d+\)",
        ),
        (
            make(metrics={"every": Every()}, targets=torch.zeros(20).long()),
            r"metrics\['every'\], .* KeyError: 1",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(task, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_task(task)
    assert "\n" not in str(caught.value)


def test_the_form_of_a_nest_in_words():
    nest = {"a": (torch.zeros(2, 3), torch.zeros(1).long()), "b": None}
    assert form(nest) == "{'a': (float32 (2, 3), int64 (1,)), 'b': NoneType}"
