import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raysearch.trainables.masks.landscapes import Swaps, TradeOff, trade_off
from raysearch.trainables.masks.mask_loss import MaskedLoss
from raysearch.trainables.masks.masks import weight_units

torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
UNITS = weight_units(NET)
X = torch.randn(40, 6)
LOSS = MaskedLoss(NET, UNITS, X, NET(X).argmax(1), F.cross_entropy, 40)
ALL = np.ones(UNITS.total, bool)
POOLS = [slice(0, 30), slice(30, UNITS.total)]


def swaps(guided):
    return Swaps(LOSS, ALL, list(UNITS.sizes), POOLS, guided=guided)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1), st.booleans())
def test_swaps_keep_the_number_of_every_pool(seed, share, guided):
    rng = np.random.default_rng(seed)
    one, other = (
        np.concatenate([rng.permutation(np.arange(n) < n // 3) for n in (30, 42)]) for _ in range(2)
    )
    landscape = swaps(guided)
    landscape.advance(one, rng)
    for mask in (landscape.neighbour(one, share, rng), landscape.cross(one, other, rng)):
        assert [mask[pool].sum() for pool in POOLS] == [one[pool].sum() for pool in POOLS]
    neighbour = landscape.neighbour(one, share, rng)
    assert (neighbour != one).sum() == 2 * (max(1, round(share * 10)) + max(1, round(share * 14)))
    child = landscape.cross(one, other, rng)
    assert (child[one == other] == one[one == other]).all()


def test_whole_pools_have_no_neighbours():
    assert swaps(guided=False).neighbour(ALL, 0.5, np.random.default_rng(0)).all()


def test_guided_swaps_are_better_than_random_ones():
    rng = np.random.default_rng(0)
    guided, random = swaps(guided=True), swaps(guided=False)
    gains = []
    for _ in range(20):
        mask = np.concatenate([rng.permutation(np.arange(n) < n // 2) for n in (30, 42)])
        guided.advance(mask, rng)
        masks = np.stack([guided.neighbour(mask, 0.05, rng), random.neighbour(mask, 0.05, rng)])
        gains.append(np.subtract(*guided.costs(masks)))
    assert np.mean(gains) < -0.02
    assert (guided.look, random.look) == (3, 0)


def test_costs_of_a_layer_are_those_with_the_others_fixed():
    kept = np.random.default_rng(0).random(UNITS.total) < 0.7
    landscape = Swaps(LOSS, kept, ["2"], [slice(0, 24)], guided=False)
    masks = np.random.default_rng(1).random((3, 24)) < 0.5
    whole = np.hstack([np.repeat(kept[None, :48], 3, axis=0), masks])
    assert landscape.costs(masks) == pytest.approx(LOSS.losses(whole), abs=1e-5)


def test_the_trade_off_and_its_penalty():
    assert trade_off(np.array([0.2, -1.0]), np.array([0.5, 0.5])) == pytest.approx([0.08, 0.0], rel=1e-5)
    unpruned = float(LOSS.losses(ALL[None])[0])
    mask = np.random.default_rng(0).random(48) < 0.3
    increase = float(LOSS.losses(np.concatenate([mask, ALL[:24]])[None])[0]) - unpruned
    assert increase > 0.1
    costs = [
        TradeOff(LOSS, ALL, "0", unpruned, allowance).costs(mask[None])[0] for allowance in (increase, 0.1)
    ]
    assert costs[0] == pytest.approx(increase**2 / (1 - mask.mean()), rel=1e-3)
    assert costs[1] == pytest.approx(costs[0] + 1000 * (increase - 0.1), rel=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1))
def test_flips(seed, share):
    rng = np.random.default_rng(seed)
    landscape = TradeOff(LOSS, ALL, "0", 0.0, 1.0)
    one, other = rng.random((2, 48)) < 0.5
    assert (landscape.neighbour(one, share, rng) != one).sum() == max(1, round(share * 48))
    child = landscape.cross(one, other, rng)
    assert ((child == one) | (child == other)).all()
