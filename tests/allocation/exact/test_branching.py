"""Branch and bound on a made-up relaxation whose optimum is known."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.allocation.curves import Floats
from raysearch.allocation.exact.branching import TOLERANCE, Relaxed, proven

LOW, HIGH = np.zeros(2), np.ones(2)
BEST = np.array([0.7, 0.2])


def loss(ratios: Floats) -> float:
    """Smallest, 0, at ``BEST``."""
    return float(((ratios - BEST) ** 2).sum())


class Boxes:
    """The loss in the middle of a box, and what it can be at least; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, low: Floats, high: Floats) -> Relaxed | None:
        self.asked += 1
        middle = (low + high) / 2
        bound = loss(np.clip(BEST, low, high))
        branch = int((high - low).argmax())
        return Relaxed(middle, loss(middle), bound, branch, float(middle[branch]))


def test_the_optimum_is_found_and_proven() -> None:
    found = proven(Boxes(), LOW, HIGH, most_cuts=5000)
    assert found is not None
    np.testing.assert_allclose(found.ratios, BEST, atol=1e-3)
    assert 0 <= found.gap <= TOLERANCE
    assert found.loss == loss(found.ratios)


def test_after_the_last_cut_the_gap_that_is_left_is_said() -> None:
    losses, gaps = [], []
    for cuts in (0, 3, 10):
        boxes = Boxes()
        found = proven(boxes, LOW, HIGH, most_cuts=cuts)
        assert found is not None
        assert boxes.asked == 1 + 2 * cuts
        assert found.bound <= 0 <= found.loss  # the optimum lies between
        losses.append(found.loss)
        gaps.append(found.gap)
    assert losses == sorted(losses, reverse=True)
    assert gaps == sorted(gaps, reverse=True)


@pytest.mark.parametrize(("enough", "cuts"), [(1.0, 0), (-1.0, 0), (0.01, 1)])
def test_it_stops_as_soon_as_it_is_known_whether_a_loss_can_be_had(enough: float, cuts: int) -> None:
    boxes = Boxes()
    found = proven(boxes, LOW, HIGH, most_cuts=5000, enough=enough)
    assert found is not None
    assert (found.loss <= enough) or (found.bound > enough)
    assert (boxes.asked == 1) == (cuts == 0)


def test_where_nothing_keeps_the_limits_there_is_nothing() -> None:
    assert proven(lambda low, high: None, LOW, HIGH, most_cuts=10) is None


def test_an_interval_that_would_be_cut_at_its_end_is_halved() -> None:
    seen: list[tuple[float, float]] = []

    def relax(low: Floats, high: Floats) -> Relaxed | None:
        seen.append((float(low[0]), float(high[0])))
        return Relaxed(low, 1.0, 0.0, 0, float(low[0]))

    proven(relax, np.zeros(1), np.ones(1), most_cuts=1)
    assert seen == [(0.0, 1.0), (0.0, 0.5), (0.5, 1.0)]
