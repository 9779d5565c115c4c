from __future__ import annotations

import json
import math

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.libraries.replayed import Replayed
from raysearch.searchers.novelty import Novelty
from raysearch.searchers.trials import FINISHED, Trials

SPACE = Novelty(Encoding([Parameter(("x",), "integer", 0, 3)]), None, ())
GOALS = Goals.parse(["minimize f", "minimize g"], ["f <= 1"], last_step=2)


def refused():
    raise AssertionError("nothing is to be proposed")


def begun():
    trials = Trials(GOALS)
    assert trials.ask("0", None, SPACE, lambda: (np.array([0.5]), {"x": 1})) == {"x": 1}
    return trials


def test_a_trial_counts_with_the_latest_value_of_each_metric():
    trials = begun()
    for step, values in [(0, {"g": 4.0}), (1, {"f": 3.0}), (2, {"f": 2.0}), (1, {"f": 9.0})]:
        trials.tell("0", step, values)
    member = trials.end("0", "finished")
    assert member.costs == [2.0, 4.0]
    assert member.violation == 1.0
    assert member.level == FINISHED


def test_a_stopped_trial_stands_at_its_step():
    trials = begun()
    trials.tell("0", 1, {"g": 4.0})
    member = trials.end("0", "stopped")
    assert member.level == 1
    assert math.isnan(member.costs[0])


@pytest.mark.parametrize(
    ("values", "outcome"), [({"f": 0.0, "g": 0.0}, "failed"), ({"f": 0.0}, "finished"), ({}, "stopped")]
)
def test_what_failed_or_lacks_an_objective_does_not_count(values, outcome):
    trials = begun()
    trials.tell("0", 2, values)
    assert trials.end("0", outcome) is None


def test_a_name_in_use_is_refused_and_a_stranger_ignored():
    trials = begun()
    with pytest.raises(ValueError, match="'0' was asked for already"):
        trials.ask("0", {"x": 2}, SPACE, refused)
    trials.tell("1", 0, {"f": 1.0})
    assert trials.end("1", "finished") is None


def test_a_state_goes_through_json():
    trials, other = begun(), Trials(GOALS)
    trials.tell("0", 1, {"f": 3.0})
    other.load(json.loads(json.dumps(trials.state())))
    assert other.running == trials.running
    assert other.asked == 1


def test_a_given_config_is_taken_unasked_and_nothing_found_begins_nothing():
    trials = begun()
    assert trials.ask("1", {"x": 3}, SPACE, refused) == {"x": 3}
    assert trials.running["1"].vector == [0.875]  # the middle of the last of four cells
    assert trials.ask("2", None, SPACE, lambda: None) is None
    assert (sorted(trials.running), trials.asked) == (["0", "1"], 2)


class Counting:
    """Answers with the number of calls so far."""

    def __init__(self):
        self.calls = 0

    def ask(self, trial, given=None):
        self.calls += 1
        if trial == "bad":
            raise ValueError("bad")
        return given or {"n": self.calls}

    def tell(self, trial, step, values):
        self.calls += 1

    def end(self, trial, outcome):
        self.calls += 1


def test_a_replayed_searcher_goes_on_where_it_stood():
    first, second = Replayed(Counting), Replayed(Counting)
    assert first.ask("0", {"n": 7}) == {"n": 7}
    first.tell("0", 1, {"f": math.nan})
    first.end("0", "finished")
    second.load(json.loads(json.dumps(first.state())))
    assert second.ask("1") == first.ask("1") == {"n": 4}


def test_a_call_that_was_refused_is_not_replayed():
    searcher = Replayed(Counting)
    with pytest.raises(ValueError, match="bad"):
        searcher.ask("bad")
    assert searcher.state() == {"calls": []}
