"""What annealing and breeding promise alike, on a problem whose optimum is known."""

import numpy as np
import pytest
from hidden_mask import TARGET, Hidden, distance

from raysearch.trainables.masks.annealing import Annealing
from raysearch.trainables.masks.genetic import Genetic

METHODS = [Annealing(batch=1), Annealing(), Genetic(), Genetic(population=5, elite=1)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("look", [0, 3])
def test_they_get_near_within_the_budget(method, look):
    landscape = Hidden(look)
    walk = method.run(landscape, ~TARGET, 1200, np.random.default_rng(0))
    assert distance(walk.mask) <= 0.1
    assert 1150 < walk.evaluations == landscape.evaluated <= 1200
    spent, costs = zip(*walk.curve, strict=True)
    assert list(spent) == sorted(set(spent))
    assert spent[-1] == walk.evaluations
    if not look:
        assert list(costs) == sorted(costs, reverse=True)
        assert walk.cost == costs[-1] == pytest.approx(1 + distance(walk.mask))


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_walks_the_same_way(method):
    first, again, other = (method.run(Hidden(), ~TARGET, 200, np.random.default_rng(s)) for s in (0, 0, 1))
    assert first.curve == again.curve != other.curve
    assert np.array_equal(first.mask, again.mask)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("evaluations", [4, 5, 6, 7, 13])
def test_tiny_budgets_are_kept(method, evaluations):
    for look in (0, 3):
        landscape = Hidden(look)
        assert (
            method.run(landscape, ~TARGET, evaluations, np.random.default_rng(0)).evaluations <= evaluations
        )
        assert landscape.evaluated <= evaluations
