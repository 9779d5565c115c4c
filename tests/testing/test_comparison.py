from __future__ import annotations

import math

import numpy as np
import pytest

from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.testing import CONDITIONAL, CURVES, ZDT1, better, compare


def nsga2(toy, seed):
    searcher = NSGA2(toy.parameters, toy.goals, seed=seed, population=10, identity=toy.identity)
    return searcher, FullTraining()


def random_search(toy, seed):
    return RandomSearch(toy.parameters, toy.goals, seed=seed, identity=toy.identity), FullTraining()


def halved(toy, seed):
    scheduler = SuccessiveHalving(toy.goals, max_step=toy.problem.last_step)
    return random_search(toy, seed)[0], scheduler


@pytest.mark.parametrize(("toy", "budget"), [(ZDT1, 100), (CONDITIONAL, 160)])
def test_nsga2_is_better_than_random_search(toy, budget):
    found = compare(nsga2, random_search, toy, budget=budget, seeds=16)
    assert found.p < 0.05
    assert np.mean(found.a) > np.mean(found.b)
    assert better(found.b, found.a) > 0.9


def test_halving_is_better_than_full_training():
    found = compare(halved, random_search, CURVES, budget=400, seeds=8, workers=4)
    assert found.p < 0.05


def test_a_method_is_no_better_than_itself():
    found = compare(nsga2, nsga2, ZDT1, budget=40, seeds=3)
    assert found.a == found.b
    assert found.p >= 0.5


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
