"""What a division is asked for: totals, violations, the smallest ratios, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from raysearch.allocation import Problem, normalised, parse
from raysearch.allocation import instances as ready

A = ready.instance_a()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"floor": 90}, "even unpruned the weighted accuracy is 85.2799991"),
        ({"total_cap": 500}, "pruned in full there are still 857"),
        ({"latency": "series"}, "latency is 'series'"),
        ({"latency_cap": -1}, "pruned in full it still takes 0 ms"),
        ({"floor": math.nan}, "floor is not a number"),
        ({"branches": ()}, "no branches"),
        ({"branches": (A.branches[0], A.branches[0])}, "same name"),
        ({"branches": A.branches[:3]}, "importances sum to 0.176"),
        ({"branches": (replace(A.branches[0], importance=-1.0),)}, "importance is -1,"),
        ({"branches": (replace(A.branches[0], cap=50.0),)}, "cap is 50 MB, but pruned in full"),
        ({"branches": (replace(A.branches[0], accuracy=parse("80 + p")),)}, "the accuracy curve rises"),
        ({"branches": (replace(A.branches[0], time=None, importance=1.0),), "latency_cap": 1}, "a time"),
    ],
)  # fmt: skip
def test_impossible_problems_are_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        replace(A, **change)


def test_importances_are_normalised_with_a_note():
    assert normalised([2, 2]) == ([0.5, 0.5], "importances sum to 4: divided by their sum")
    assert normalised([0.25, 0.75]) == ([0.25, 0.75], "")
    thirds, note = normalised([0.3333333] * 3)
    assert (sum(thirds), note) == (1.0, "")
    bad = {
        "branch '1': importance is -0.5, it must": ([1.5, -0.5], None),
        "branch 'left': importance is nan": ([math.nan, 1], ["left", "right"]),
        "all importances are 0": ([0, 0], None),
    }
    for message, (importances, names) in bad.items():
        with pytest.raises(ValueError, match=message):
            normalised(importances, names)


def test_a_number_is_missing_where_there_are_fewer_than_branches():
    curves = {"accuracy": ready.accuracy_a(), "size": ready.size_a()}
    with pytest.raises(ValueError, match="there are 2 importances and 3 caps"):
        Problem.of([0.5, 0.5], [400.0] * 3, **curves)
    with pytest.raises(ValueError, match="there are 2 importances and 1 time_scales"):
        Problem.of([0.5, 0.5], [400.0] * 2, **curves, time_scales=[1.0])
