from __future__ import annotations

from typing import Any

from made_up import record_of_figures

from raysearch.objectives import Goals
from raysearch.record.remarks import remarks
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.ties import Outdone, are_tied, outdone, tied_with

GOALS = Goals.parse(["maximize accuracy", "minimize size_mb"])
HARD = [0.70, 0.75, 0.72, 0.80, 0.77, 0.74, 0.71, 0.79, 0.76, 0.73]  # accuracy on ten parts


def variant(name: str, size: float, gain: float, wobble: float = 0.0) -> TrialRecord:
    parts = [value + gain + wobble * (-1) ** k for k, value in enumerate(HARD)]
    values = {"accuracy": sum(parts) / 10, "size_mb": size}
    return TrialRecord(name, "trial", {}, name, "x", 0.0, reports={1: values}, parts={"accuracy": parts})


def test_parts_are_compared_pair_by_pair() -> None:
    first, second = variant("a", 1.0, 0.0), variant("b", 1.0, 0.01)
    assert not are_tied(first, second, "accuracy")  # better on every part, by less than parts differ
    assert are_tied(first, variant("c", 1.0, 0.01, wobble=0.05), "accuracy")
    assert are_tied(first, variant("d", 2.0, 0.0), "accuracy")


def test_what_is_not_known_is_not_tied() -> None:
    known, unknown = variant("a", 1.0, 0.0), TrialRecord("b", "trial", {}, "b", "x", 0.0)
    assert not are_tied(known, unknown, "accuracy")
    assert not are_tied(known, variant("c", 1.0, 0.0), "latency_ms/cpu")
    assert tied_with(known, [known, unknown, variant("c", 1.0, 0.0)], "accuracy") == ["c"]


def test_one_is_outdone_by_what_is_ahead_in_all_else() -> None:
    small, large = variant("small", 1.0, 0.0), variant("large", 2.0, 0.01, wobble=0.05)
    better = variant("better", 3.0, 0.2)
    every = [small, large, better]
    assert outdone(large, every, GOALS) == Outdone("large", "small", ("accuracy",))
    assert outdone(small, every, GOALS) is None
    assert outdone(better, every, GOALS) is None


def test_a_latency_is_ahead_beyond_its_noise_alone() -> None:
    goals = Goals.parse(["maximize accuracy", "minimize latency_ms/cpu"])
    first, second = variant("a", 1.0, 0.0), variant("b", 1.0, 0.01, wobble=0.05)
    for trial, latency in ((first, 1.0), (second, 1.001)):
        trial.reports[1]["latency_ms/cpu"] = latency
    assert outdone(second, [first, second], goals) is None
    second.reports[1]["latency_ms/cpu"] = 1.5
    assert outdone(second, [first, second], goals) == Outdone("b", "a", ("accuracy",))


def of_a_test_split(*variants: TrialRecord) -> RunRecord:
    """A finished run of these variants, each tried on the test split."""
    parent: dict[str, Any] = {"accuracy": 0.5, "size_mb": 9.0}
    goals = [str(objective) for objective in GOALS.objectives]
    record = record_of_figures(goals, parent, [dict(v.reports[1]) for v in variants])
    for made, given in zip(record.searched(), variants, strict=True):
        final = {"values": {}, "parts": given.parts}
        record.apply({"event": "final", "trial": made.name, "time": 99.0, **final})
    return record


def test_the_run_says_so_in_a_sentence() -> None:
    small, large = variant("small", 1.0, 0.0), variant("large", 2.0, 0.01, wobble=0.05)
    assert remarks(of_a_test_split(small, large)) == [
        "In accuracy the test split cannot tell 0001 from 0000; the latter is behind in nothing else."
    ]
    largest = variant("largest", 3.0, 0.02, wobble=0.06)
    assert remarks(of_a_test_split(small, large, largest)) == [
        "In accuracy the test split cannot tell 0001 from 0000 nor 0002 from 0000; "
        "the second of each pair is behind in nothing else."
    ]
    assert remarks(of_a_test_split(small, variant("better", 3.0, 0.2))) == []
