from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.allocation import cma_es_ratio, polynomial, search_ratio
from raysearch.allocation import instances as ready

B = ready.instance_b()


def test_instance_b_is_feasible_in_a_narrow_band():
    floor, cap = B.breaks()
    assert (round(cap, 3), round(floor, 3)) == (0.422, 0.455)
    assert B(cap)[1] == B(floor)[1] == 0
    assert B(cap - 1e-6)[1] > 0
    assert B(floor + 1e-6)[1] > 0


@pytest.mark.parametrize("evaluations", [20, 100])
def test_known_breaks_beat_a_fine_grid(evaluations):
    grid = [(p, *B(p)) for p in np.linspace(0, 1, 1001).tolist()]
    ratio, reward, _ = max((g for g in grid if g[2] == 0), key=lambda g: g[1])
    found = search_ratio(B, evaluations=evaluations, breaks=B.breaks())
    assert found.feasible
    assert found.reward >= reward
    assert abs(found.ratio - ratio) < 0.001
    assert found.evaluations <= evaluations


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(4, 60))
def test_never_below_a_grid_of_half_the_cost(seed, evaluations):
    rng = np.random.default_rng(seed)
    spikes, widths, low, high = rng.random(5), 10 ** rng.uniform(-4, -1, 5), *rng.random(2)

    def evaluate(ratio: float) -> tuple[float, float]:
        reward = np.exp(-(((ratio - spikes) / widths) ** 2)).sum() + (ratio > spikes[0]) - ratio
        return float(reward), max(0.0, low - ratio, ratio - high)

    found = search_ratio(evaluate, evaluations=evaluations)
    merits = [(-v, r) for r, v in map(evaluate, np.linspace(0, 1, evaluations // 2).tolist())]
    assert (-found.violation, found.reward) >= max(merits)
    assert found.evaluations <= evaluations
    assert found.feasible == (found.history[:, 2] == 0).any()


def test_a_better_rewarded_ratio_that_breaks_a_limit_is_not_preferred():
    found = search_ratio(lambda p: (100 * p, max(0.0, p - 0.3)), evaluations=60)
    assert found.feasible
    assert found.ratio == pytest.approx(0.3, abs=1e-6)
    nowhere = search_ratio(lambda p: (100 * p, 1 + p), evaluations=20)
    assert not nowhere.feasible
    assert nowhere.ratio == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_never_the_best(bad):
    def evaluate(ratio: float) -> tuple[float, float]:
        return (bad if 0.2 < ratio < 0.6 else -ratio), max(0.0, 0.5 - ratio)

    found = search_ratio(evaluate, evaluations=40)
    assert found.feasible
    assert found.ratio == pytest.approx(0.6, abs=1e-3)  # where the rewards end that are not finite
    broken = search_ratio(lambda p: (p, 1 + p) if p == 1 else (bad, 0.0), evaluations=10)
    assert (broken.ratio, broken.feasible) == (1, False)
    unlimited = search_ratio(lambda p: (1.0, bad if p < 0.5 else 0.0), evaluations=10)
    assert unlimited.ratio >= 0.5


def test_where_no_reward_is_finite_there_is_no_best():
    message = "no ratio has a finite reward and violation: of 10 evaluated the first is .nan, 0.0. at 0;"
    with pytest.raises(ValueError, match=message):
        search_ratio(lambda p: (math.nan, 0.0), evaluations=10)


def test_the_same_calls_give_the_same_answers():
    first, second = (search_ratio(B, evaluations=50) for _ in range(2))
    np.testing.assert_array_equal(first.history, second.history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluations": 3}, "it takes 4"),
        ({"evaluations": 20, "low": 0.5, "high": 0.5}, "below high"),
        (
            {"evaluations": 20, "breaks": (0.5, 1.5)},
            r"breaks holds 1\.5: they must lie from low, 0\.0, to high",
        ),
        ({"evaluations": 20, "breaks": (math.nan,)}, "breaks holds nan"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        search_ratio(B, **options)


def test_cma_es_marks_what_it_found():
    pytest.importorskip("cma", reason="CMA-ES comes with the extra cma")
    found = cma_es_ratio(B, iterations=10, seed=1)
    assert 0 <= found.ratio <= 1
    assert found.evaluations <= 200
    assert found.feasible == (B(found.ratio)[1] == 0)


def test_cma_es_walks_around_rewards_that_are_not_finite():
    pytest.importorskip("cma", reason="CMA-ES comes with the extra cma")
    found = cma_es_ratio(lambda p: (math.nan if p < 0.7 else -p, 0.0), iterations=20)
    assert found.ratio == pytest.approx(0.7, abs=0.05)


def test_cma_es_draws_from_a_generator_of_its_own():
    before = np.random.get_state()[1].tolist()
    found = [cma_es_ratio(B, iterations=3, seed=2) for _ in range(2)]
    assert found[0].ratio == found[1].ratio
    assert np.random.get_state()[1].tolist() == before


def test_nothing_is_read_where_a_curve_does_not_hold():
    accuracy = polynomial([90.0, -100.0], domain=(0.0, 0.6))
    problem = replace(B, accuracy=accuracy, floor=0.0, cap=50.0)  # kept only by larger ratios
    assert problem.breaks() == (0.6, 0.6)
    found = search_ratio(problem, evaluations=50)
    assert not found.feasible
    assert 0.59 < found.ratio <= 0.6


def test_bad_curves_are_refused():
    with pytest.raises(ValueError, match=r"the accuracy curve rises from ratio 0 "):
        replace(B, accuracy=polynomial([80.0, 1.0]))
    with pytest.raises(ValueError, match="no ratio in common"):
        replace(B, accuracy=polynomial([90.0], domain=(0.0, 0.4)), size=polynomial([90.0], domain=(0.4, 1.0)))


def test_limits_of_zero_are_limits():
    reward, broken = replace(B, floor=0.0, cap=0.0)(0.5)
    assert np.isfinite(reward)
    assert broken > 0
