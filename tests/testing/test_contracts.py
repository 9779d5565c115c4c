"""The contract tests must catch what they promise to catch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.random import RandomSearch
from raysearch.testing import better, check_scheduler, check_searcher


class StopsTheBest(FullTraining):
    def decide(self, trial, step, values):
        return Decision.STOP if values.get("accuracy") == math.inf and trial == "best" else Decision.CONTINUE


class StopsTheExport(FullTraining):
    def decide(self, trial, step, values):
        return Decision.STOP if step > 10 else Decision.CONTINUE


class AnswersText(FullTraining):
    def decide(self, trial, step, values):
        return "CONTINUE"


class Forgets(SuccessiveHalving):
    def load(self, state):
        pass


class CountsRepeats(FullTraining):
    def __init__(self):
        self.calls = 0

    def decide(self, trial, step, values):
        self.calls += 1
        return Decision.CONTINUE

    def state(self):
        return {"calls": self.calls}


class KeepsATuple(FullTraining):
    def state(self):
        return {"rungs": (1, 2)}


class KeepsAnObject(FullTraining):
    def state(self):
        return {"rungs": object()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda goals: StopsTheBest(), "dominates all"),
        (lambda goals: StopsTheExport(), "exported model"),
        (lambda goals: AnswersText(), "return a Decision"),
        (lambda goals: Forgets(goals, max_step=9), "must not change later decisions"),
        (lambda goals: CountsRepeats(), "reported before must change nothing"),
        (lambda goals: KeepsATuple(), "lists instead of tuples"),
        (lambda goals: KeepsAnObject(), "plain JSON"),
    ],
)
def test_a_broken_scheduler_is_caught(make, message):
    with pytest.raises(AssertionError, match=message):
        check_scheduler(make)


class Repeats(RandomSearch):
    def ask(self, trial):
        return {"architecture": {"depth": 1, "block": "basic"}, "pruning": {"ratio": 0.0}, "lr": 1e-3}


class GivesUp(RandomSearch):
    def ask(self, trial):
        return None


class IsFlat(RandomSearch):
    def ask(self, trial):
        config = super().ask(trial)
        return {**config, "pruning/ratio": 0.1}


class Amnesiac(RandomSearch):
    def load(self, state):
        pass


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Repeats, "no config twice"),
        (GivesUp, "must return a config"),
        (IsFlat, "searched keys"),
        (Amnesiac, "must not change later suggestions"),
    ],
)
def test_a_broken_searcher_is_caught(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_searcher(kind)


def test_a_searcher_that_is_not_reproducible_is_caught():
    seeds = itertools.count()
    with pytest.raises(AssertionError, match="the same calls"):
        check_searcher(lambda parameters, goals: RandomSearch(parameters, goals, seed=next(seeds)))


def test_better_tells_a_gain_from_noise():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.0, 1.0, 20).tolist(), rng.normal(0.0, 1.0, 20).tolist()
    assert better([x + 2 for x in a], b) < 1e-4
    assert better(b, [x + 2 for x in a]) > 0.999
    assert 0.05 < better(a, b) < 0.95
    assert better(a, a) == pytest.approx(0.5, abs=0.02)


def test_better_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="a has 1 figures"):
        better([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="b has a figure that is NaN"):
        better([1.0, 2.0], [1.0, math.nan])
