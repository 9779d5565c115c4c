"""The queue: who is let in, in which order they are served, and who is given up."""

from __future__ import annotations

import pytest

from raysearch.serving.latencies import Latencies
from raysearch.serving.policy import Plan
from raysearch.serving.station import MOST_WAITING, Station


def station(times: tuple[float, ...] = (2.0, 6.0), workers: int = 1) -> Station[str]:
    return Station(Plan(20.0), Latencies([{1: t} for t in times], spread=1.0), workers)


def test_the_earliest_deadline_is_served_first() -> None:
    queue = station()
    for name, deadline in (("b", 30.0), ("a", 20.0), ("c", 30.0)):
        assert queue.arrive(0.0, name, deadline) is None
    served = [queue.take(0.0, 0).requests[0] for _ in range(3)]
    assert served == ["a", "b", "c"]


def test_what_would_be_late_even_with_the_fastest_is_refused() -> None:
    queue = station()
    assert queue.arrive(0.0, "a", 20.0) is None
    assert queue.take(0.0, 0).choice.variant == 1  # type: ignore[union-attr]
    assert queue.arrive(1.0, "b", 7.0) == pytest.approx(1.0)  # free at 6, done at 8
    assert queue.arrive(1.0, "b", 8.0) is None
    assert queue.arrive(1.0, "c", 9.0) == pytest.approx(1.0)
    queue.done(0)
    assert queue.arrive(6.0, "c", 10.0) is None


def test_those_whose_time_has_passed_are_given_up() -> None:
    queue = station()
    for name, deadline in (("a", 3.0), ("b", 20.0)):
        queue.arrive(0.0, name, deadline)
    taken = queue.take(2.0, 0)
    assert (taken.expired, taken.requests) == (["a"], ["b"])
    assert queue.take(3.0, 0).choice is None


def slowed(*times: float) -> Station[str]:
    """A station that has seen every variant take many times what was measured."""
    queue = station(times)
    for _ in range(200):
        for variant, time in enumerate(times):
            queue.costs.observe(variant, 1, 20 * time)
    return queue


def test_after_a_stall_one_at_a_time_is_tried_with_what_was_fastest() -> None:
    queue = slowed(2.0, 6.0)
    assert queue.costs.fastest > 20
    assert queue.arrive(0.0, "a", 20.0) is None
    assert queue.arrive(0.0, "b", 20.0) is not None  # "a" waits
    taken = queue.take(0.5, 0)
    assert (taken.expired, taken.requests, taken.choice.variant) == ([], ["a"], 0)  # type: ignore[union-attr]
    assert queue.arrive(1.0, "c", 21.0) is not None  # "a" is served
    queue.done(0)
    assert queue.arrive(3.0, "d", 4.0) == pytest.approx(queue.costs.fastest - 1)  # it never took 1 ms
    assert queue.arrive(3.0, "e", 23.0) is None
    assert queue.take(22.0, 0).expired == ["e"]


def test_a_second_worker_is_free() -> None:
    queue = station(workers=2)
    queue.arrive(0.0, "a", 20.0)
    queue.take(0.0, 0)
    assert queue.arrive(0.0, "b", 2.0) is None
    assert queue.arrive(0.0, "c", 2.0) is None
    assert queue.arrive(0.0, "d", 2.0) is not None


def test_a_queue_has_an_end() -> None:
    queue = station((1e-6,))
    assert all(queue.arrive(0.0, "a", 1e6) is None for _ in range(MOST_WAITING))
    assert queue.arrive(0.0, "a", 1e6) == 0.0
