"""The table of latencies: what it learns, and what it forgets."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.basics.failures import UserError
from raysearch.serving.latencies import Latencies


def test_expected_times_follow_what_is_seen_in_all_sizes() -> None:
    costs = Latencies([{1: 1.0, 4: 3.0}, {1: 10.0, 4: 36.0}])
    for _ in range(300):
        costs.observe(0, 1, 2.0)
    assert costs.times[0][0] == pytest.approx(2.0, rel=0.02)
    assert costs.times[1][0] == pytest.approx(6.0, rel=0.02)
    assert costs.times[0][1] == 10.0


def test_what_is_not_used_goes_back_to_what_was_measured() -> None:
    costs = Latencies([{1: 1.0}, {1: 10.0}])
    for _ in range(60):
        costs.observe(1, 1, 30.0)
    slowed = costs.times[0][1]
    assert slowed > 20
    for _ in range(5000):
        costs.observe(0, 1, 1.0)
    assert costs.times[0][1] == pytest.approx(10.0, rel=0.1)


def test_one_stall_changes_little() -> None:
    costs = Latencies([{1: 1.0}])
    costs.observe(0, 1, 1000.0)
    assert costs.times[0][0] < 1.1


def test_exact_times_have_no_spread_and_varying_ones_theirs() -> None:
    rng = np.random.default_rng(0)
    exact, varying = Latencies([{1: 2.0}]), Latencies([{1: 2.0}])
    assert exact.uneven == pytest.approx(0.4)
    for _ in range(400):
        exact.observe(0, 1, 2.0)
        varying.observe(0, 1, 2.0 * float(np.exp(0.3 * rng.standard_normal())))
    assert exact.uneven == 0
    assert 0.8 < varying.uneven < 2.0  # the 99.5th percentile of such times is 2.16 times the median


def test_a_variant_that_was_seldom_used_has_its_neighbour_s_spread() -> None:
    costs = Latencies([{1: 1.0}, {1: 2.0}, {1: 50.0}])
    for n in range(200):
        costs.observe(0, 1, 1.0)
        costs.observe(2, 1, 50.0 * (2 if n % 10 == 0 else 1))
    assert costs.spreads[0] == costs.spreads[1] == 1.0
    assert costs.spreads[2] > 1.5


def test_a_few_slow_inferences_are_forgotten_soon() -> None:
    costs = Latencies([{1: 1.0}, {1: 7.0}])
    for n in range(500):
        costs.observe(1, 1, 35.0 if n in (440, 450) else 7.0)
    assert costs.spreads[1] > 4
    for _ in range(1200):
        costs.observe(0, 1, 1.0)
    assert costs.spreads[1] < 1.5


def test_fastest_and_pace() -> None:
    costs = Latencies([{1: 3.0, 4: 6.0}, {1: 2.0, 4: 9.0}])
    assert (costs.fastest, costs.pace, costs.sizes) == (2.0, 1.5, (1, 4))


@pytest.mark.parametrize("measured", [[], [{1: 0.0}], [{1: float("nan")}], [{1: -1.0}]])
def test_times_that_are_none_are_refused(measured: list[dict[int, float]]) -> None:
    with pytest.raises(UserError, match="positive times"):
        Latencies(measured)
