from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest
import ray
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset
from trial_setup import PARENT, make_setup

from raysearch.record.journal import Journal
from raysearch.record.run_record import RunRecord
from raysearch.runs.session import Session
from raysearch.sweeps.left_out import left_out_of, measure_left_out, metric_without, parent_without
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.keeping.references import LostReference, write_weights
from raysearch.trainables.task import accuracy

Pair = namedtuple("Pair", "logits rest")


class Named(nn.Module):
    def forward(self, x):
        return Pair(x, {"unused": [x], "width": 1})


class Uncalled(nn.Linear):
    """Its weights are read, it is never called."""


class Net(nn.Module):
    """The class is the larger of two inputs; ``dead`` adds nothing, ``memory`` next to nothing."""

    def __init__(self):
        super().__init__()
        self.seen = nn.Identity()
        self.dead = nn.Linear(2, 2)
        self.several = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.named = Named()
        self.memory = nn.LSTM(2, 2, bias=False, batch_first=True)
        self.read = Uncalled(2, 2)
        nn.init.zeros_(self.dead.weight)
        nn.init.zeros_(self.dead.bias)

    def forward(self, x):
        x = self.seen(x) + self.dead(x)
        x = sum(branch(x) for branch in self.several)
        remembered, _ = self.memory(x[:, None])
        x = self.named(x + 1e-3 * remembered[:, 0]).logits
        return x + 0 * nn.functional.linear(x, self.read.weight)


@pytest.fixture
def examples():
    torch.manual_seed(0)
    x = torch.rand(40, 2)
    return TensorDataset(x, x.argmax(1))


@pytest.mark.parametrize("part", ["seen", "several", "named"])
def test_without_what_knows_the_class_the_network_guesses(examples, part):
    network = Net().eval()
    always_first = float((examples.tensors[1] == 0).float().mean())
    before = accuracy(network(examples.tensors[0]), examples.tensors[1])
    found = metric_without(network, [part, "dead", "memory"], examples, accuracy)
    assert before > 0.95
    assert found[part] == always_first < before
    assert found["memory"] > 0.95
    assert found["dead"] == before
    assert accuracy(network(examples.tensors[0]), examples.tensors[1]) == before  # it is left as it was


@dataclass
class Result:
    logits: torch.Tensor
    width: int = 2


def test_what_a_part_returns_in_a_dataclass_is_left_out_too(examples):
    class Wrapped(nn.Module):
        def forward(self, x):
            return Result(x)

    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.wrapped = Wrapped()

        def forward(self, x):
            return self.wrapped(x).logits

    always_first = float((examples.tensors[1] == 0).float().mean())
    assert metric_without(Reading(), ["wrapped"], examples, accuracy) == {"wrapped": always_first}


def test_the_heads_of_an_attention_are_its_output(examples):
    class Attended(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(2, 2, batch_first=True)

        def forward(self, x):
            return x + 100 * self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0].flip(-1)

    torch.manual_seed(0)
    found = metric_without(Attended(), ["attention.(heads)"], examples, accuracy)
    assert found == {"attention.(heads)": 1.0}


def test_a_metric_that_is_lost_without_a_part_is_said(examples):
    def spread(logits, labels):
        return float(logits.std() / logits.std())

    with pytest.raises(ValueError, match="without the part 'named' the metric is nan"):
        metric_without(Net(), ["named"], examples, spread)


def test_a_part_that_is_never_called_is_refused(examples):
    with pytest.raises(ValueError, match="the part 'read' cannot be left out: the network never calls it"):
        metric_without(Net(), ["read"], examples, accuracy)


def test_the_parent_is_evaluated_whole_and_without_its_parts(tmp_path):
    setup = make_setup(tmp_path)
    task = setup.task
    model = task.build(setup.space.variant(PARENT).plan.architecture)
    path = setup.reference_weights("parent")
    path.parent.mkdir()
    save_file(model.state_dict(), path)
    found = parent_without(setup, ["stage1", "head"])
    assert found["accuracy"] == evaluate(model, task.validation, task.metrics)["accuracy"]
    labels = task.validation.tensors[1]
    assert found["without"]["head"] == task.metrics["accuracy"](torch.zeros(len(labels), 10), labels)
    assert set(found["without"]) == {"stage1", "head"}


def test_damaged_weights_are_worth_nothing(tmp_path):
    setup = make_setup(tmp_path)
    model = setup.task.build(setup.space.variant(PARENT).plan.architecture)
    path = setup.reference_weights("parent")
    write_weights(path, model.state_dict())
    content = path.read_bytes()
    path.write_bytes(content[:-7] + bytes([content[-7] ^ 64]) + content[-6:])
    with pytest.raises(LostReference, match="the weights of the parent network are lost"):
        parent_without(setup, ["head"])


class FakeSession:
    """A journal with a parent, whose remote calls are answered at once."""

    def __init__(self, folder, answer):
        self.journal, self.record, self.answer = Journal(folder), RunRecord(), answer
        self.asked, self.folder = [], folder
        head = {"role": "reference", "config": {}, "key": "k", "origin": "reference"}
        self.write("suggestion", trial="parent", **head)

    def write(self, event, **fields):
        self.record.apply(self.journal.write(event, **fields))

    kept = Session.kept

    def remotely(self, function, *arguments):
        self.asked.append((function, *arguments))
        return self.answer()


def test_what_parts_are_worth_is_journalled_once(tmp_path):
    found = {"accuracy": 0.9, "without": {"a": 0.5}}
    session = FakeSession(tmp_path, lambda: found)
    for _ in range(2):
        measure_left_out(session, ["a"])
    assert session.asked == [(parent_without, ["a"])]
    assert left_out_of(RunRecord.load(tmp_path)) == left_out_of(session.record) == found


def test_why_no_part_could_be_left_out_is_journalled_once_too(tmp_path):
    def refuse():
        raise ray.exceptions.RayTaskError("left_out", "trace", ValueError("the part 'a' cannot be left out"))

    session = FakeSession(tmp_path, refuse)
    for _ in range(2):
        measure_left_out(session, ["a"])
    assert len(session.asked) == 1
    reason = "no importances by leaving parts out: the part 'a' cannot be left out"
    record = RunRecord.load(tmp_path)
    assert left_out_of(record) == {"reason": reason}
    assert (tmp_path / record.others[0]["traceback"]).read_text() == "trace\n"


def test_of_a_journal_without_parts_left_out_there_is_nothing():
    assert left_out_of(RunRecord()) == {}
