"""The contract tests must catch what they promise to catch."""

from __future__ import annotations

import itertools

import pytest

from raysearch.searchers.encoding import Parameter
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.testing import check_searcher, check_searcher_options


class Repeats(RandomSearch):
    def ask(self, trial, given=None):
        return {"architecture": {"depth": 1, "block": "basic"}, "pruning": {"ratio": 0.0}, "lr": 1e-3}


class GivesUp(RandomSearch):
    def ask(self, trial, given=None):
        return None


class IsFlat(RandomSearch):
    def ask(self, trial, given=None):
        config = super().ask(trial, given)
        return {**config, "pruning/ratio": 0.1}


class NeedsTwoGoals(RandomSearch):
    def tell(self, trial, step, values):
        assert len(self.goals.metrics) == 2, "two objectives are needed"

    def __init__(self, parameters, goals):
        super().__init__(parameters, goals)
        self.goals = goals


class OneAtATime(RandomSearch):
    running = 0

    def ask(self, trial, given=None):
        self.running += 1
        return super().ask(trial, given) if self.running <= 5 else None

    def end(self, trial, outcome):
        self.running -= 1


class StartsOver(RandomSearch):
    """Suggests a config again once the space is exhausted."""

    def ask(self, trial, given=None):
        return super().ask(trial, given) or {"a": "x", "b": 1}


class TakesNothing(RandomSearch):
    def ask(self, trial):
        return super().ask(trial)


class KnowsBetter(RandomSearch):
    """Proposes its own whatever it is given."""

    def ask(self, trial, given=None):
        return super().ask(trial)


class Forgetful(RandomSearch):
    """Proposes again what it was given."""

    def ask(self, trial, given=None):
        return given or super().ask(trial)


class Amnesiac(RandomSearch):
    def load(self, state):
        pass


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Repeats, "no config twice"),
        (GivesUp, "must return a config"),
        (IsFlat, "searched keys"),
        (NeedsTwoGoals, "two objectives are needed"),
        (OneAtATime, "however many trials are in flight"),
        (StartsOver, "and then None"),
        (TakesNothing, "must take a given config"),
        (KnowsBetter, "must return the config that is given"),
        (Forgetful, "no config twice"),
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


def test_a_searcher_of_another_space_is_checked_on_its_own():
    space = [Parameter((f"x{i}",), "float", 0.0, 1.0) for i in range(3)]
    check_searcher(RandomSearch, space)
    with pytest.raises(AssertionError, match="no config twice"):
        check_searcher(RepeatsNumbers, space)


class RepeatsNumbers(RandomSearch):
    def ask(self, trial, given=None):
        return {"x0": 0.1, "x1": 0.1, "x2": 0.1}


@pytest.mark.parametrize("kind", [RandomSearch, NSGA2])
def test_ours_take_initial_configs_and_the_identity(kind):
    check_searcher_options(kind)


class IgnoresInitial(RandomSearch):
    def __init__(self, parameters, goals, *, initial, identity):
        super().__init__(parameters, goals, identity=identity)


class IgnoresIdentity(RandomSearch):
    def __init__(self, parameters, goals, *, initial, identity):
        super().__init__(parameters, goals, initial=initial)


@pytest.mark.parametrize(
    ("kind", "message"),
    [(IgnoresInitial, "initial configs come first"), (IgnoresIdentity, "same key")],
)
def test_ignored_options_are_caught(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_searcher_options(kind)
