"""The contract tests must catch what they promise to catch."""

from __future__ import annotations

import math

import pytest

from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.testing import check_scheduler


class StopsTheBest(FullTraining):
    def decide(self, trial, step, values, given=None):
        return Decision.STOP if values.get("accuracy") == math.inf and trial == "best" else Decision.CONTINUE


class StopsTheExport(FullTraining):
    def decide(self, trial, step, values, given=None):
        return Decision.STOP if step > 10 else Decision.CONTINUE


class AnswersText(FullTraining):
    def decide(self, trial, step, values, given=None):
        return "CONTINUE"


class Forgets(SuccessiveHalving):
    def load(self, state):
        pass


class CountsRepeats(FullTraining):
    def __init__(self):
        self.calls = 0

    def decide(self, trial, step, values, given=None):
        self.calls += 1
        return Decision.CONTINUE

    def state(self):
        return {"calls": self.calls}


class KnowsBetter(SuccessiveHalving):
    """Decides by itself whatever it is given."""

    def decide(self, trial, step, values, given=None):
        return super().decide(trial, step, values)


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
        (lambda goals: KnowsBetter(goals, max_step=9), "must return the decision that is given"),
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


class Pauses(FullTraining):
    """Pauses every trial at step 3 and lets the best of those that wait go on."""

    def __init__(self):
        self.waiting, self.passed = {}, {}

    def decide(self, trial, step, values, given=None):
        if step != 3 or trial in self.passed:
            return given or Decision.CONTINUE
        self.passed[trial] = True
        if given in (None, Decision.PAUSE):
            self.waiting[trial] = (
                values["accuracy"] if values["accuracy"] == values["accuracy"] else -math.inf
            )
        return given or Decision.PAUSE

    def promote(self):
        if not self.waiting:
            return None
        best = max(self.waiting, key=lambda trial: self.waiting[trial])
        del self.waiting[best]
        return best

    def state(self):
        return {"waiting": dict(self.waiting), "passed": dict(self.passed)}

    def load(self, state):
        self.waiting, self.passed = dict(state["waiting"]), dict(state["passed"])


class PromotesTwice(Pauses):
    def promote(self):
        return max(self.waiting, key=lambda trial: self.waiting[trial], default=None)


class PromotesAnyone(Pauses):
    def promote(self):
        return "0000" if self.passed else None

    def decide(self, trial, step, values, given=None):
        return Decision.CONTINUE if trial == "best" else super().decide(trial, step, values, given)


class LeavesTheBestWaiting(Pauses):
    def promote(self):
        self.waiting.pop("best", None)
        return super().promote()


class ForgetsWhoWaits(Pauses):
    def state(self):
        return {"waiting": {}, "passed": dict(self.passed)}


def test_a_scheduler_that_pauses_passes():
    check_scheduler(lambda goals: Pauses())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (PromotesTwice, "promoted twice"),
        (PromotesAnyone, "only paused trials may be promoted"),
        (LeavesTheBestWaiting, "dominates all must not be stopped"),
        (ForgetsWhoWaits, "while trials are paused"),
    ],
)
def test_a_broken_promotion_is_caught(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_scheduler(lambda goals: kind())
