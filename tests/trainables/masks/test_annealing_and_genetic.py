"""The two searches on a problem whose optimum is known: masks as near as can be to a hidden one."""

import numpy as np
import pytest

from raysearch.trainables.masks.annealing import Annealing
from raysearch.trainables.masks.genetic import Genetic

TARGET = np.random.default_rng(9).random(40) < 0.5


class Hidden:
    """The cost is the share of units unlike the target's; with ``look``, each iteration adds its own."""

    def __init__(self, look=0):
        self.look, self.evaluated, self.shift = look, 0, 0.0

    def costs(self, masks):
        self.evaluated += len(masks)
        return (masks != TARGET).mean(axis=1) + self.shift + 1.0

    def advance(self, mask, rng):
        self.evaluated += self.look
        if self.look:
            self.shift = 10 * rng.random()

    def neighbour(self, mask, share, rng):
        changed = mask.copy()
        changed[rng.choice(40, max(1, round(share * 40)), replace=False)] ^= True
        return changed

    def cross(self, one, other, rng):
        return np.where(rng.random(40) < 0.5, one, other)


METHODS = [Annealing(batch=1), Annealing(), Genetic(), Genetic(population=5, elite=1)]


def distance(mask):
    return (mask != TARGET).mean()


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


def test_worse_masks_are_accepted_only_while_it_is_hot():
    def accepted(temperature):
        """How often a walk from the best mask there is leaves it."""
        method = Annealing(batch=1, temperature=temperature, cooling=1.0, share=1 / 40)
        landscape, left = Hidden(), 0
        for seed in range(60):
            landscape.neighbour = lambda mask, share, rng: np.r_[~mask[:1], mask[1:]]
            seen = []
            landscape.costs = lambda masks, seen=seen: (
                seen.append(masks[0, 0]),
                np.where(masks[:, 0], 1.0, 1.1),
            )[1]
            method.run(landscape, np.ones(40, bool), 3, np.random.default_rng(seed))
            left += seen[-1]  # the third is back at the best: the second was accepted
        return left / 60

    assert accepted(1e-6) == 0
    assert 0.2 < accepted(0.1) < 0.6  # exp(-1) is .37
    assert accepted(100) > 0.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Annealing(batch=0), "batch is 0"),
        (lambda: Annealing(temperature=0), "temperature is 0"),
        (lambda: Annealing(share=0), r"share is 0: give a number in \(0, 1\]"),
        (lambda: Annealing(cooling=1.5), "cooling is 1.5"),
        (lambda: Genetic(population=2), "population is 2"),
        (lambda: Genetic(elite=12), "elite is 12: give from 1 to 11"),
        (lambda: Genetic(decay=-1), "decay is -1"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()
