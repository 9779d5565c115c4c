"""A decision costs no more than n log n in the trials that it is made among."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cpu_time import cpu_seconds

from raysearch.objectives import Goals
from raysearch.schedulers import SCHEDULERS, make_scheduler
from raysearch.schedulers.base import Decision

GOALS = Goals.parse(["minimize f", "minimize g"], last_step=10)
FEW, MANY = 500, 4_000


def seconds(choice, trials):
    """The median over nine newcomers at step 1, after so many whose decisions were given."""
    scheduler, rng = make_scheduler(choice, GOALS, max_step=9), np.random.default_rng(0)
    for i in range(trials):
        scheduler.decide(f"t{i}", 1, values(rng), Decision.CONTINUE)
    taken = [cpu_seconds(lambda i=i: scheduler.decide(f"n{i}", 1, values(rng))) for i in range(9)]
    return np.median(taken)


def values(rng):
    f, g = rng.random(2).tolist()
    return {"f": f, "g": g}


@pytest.mark.parametrize("choice", [*SCHEDULERS, {"name": "successive_halving", "form": "promote"}])
def test_a_decision_grows_with_n_log_n_at_most(choice):
    few, many = seconds(choice, FEW), seconds(choice, MANY)
    assert math.log(many / few) / math.log(MANY / FEW) < 1.5
