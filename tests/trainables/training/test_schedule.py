"""How epochs are divided, and when a network is done."""

from __future__ import annotations

import math

import pytest

from raysearch.trainables.training.schedule import Schedule, cosine, cycles


def curve(*at_cycle_ends: float, epochs: int = 3) -> dict[int, dict[str, float]]:
    """A network that had the first value before training, and the others at the end of each cycle."""
    known = {0: {"accuracy": at_cycle_ends[0]}}
    for cycle, value in enumerate(at_cycle_ends[1:]):
        known |= {cycle * epochs + e: {"accuracy": value} for e in range(1, epochs + 1)}
    return known


def test_each_part_falls_from_the_highest_rate_to_none() -> None:
    schedule = Schedule((2, 6))
    assert schedule.rate(1, 0.2) == cosine(0.1)
    assert schedule.rate(2, 1.0) == schedule.rate(6, 1.0) == pytest.approx(0)
    assert schedule.rate(3, 0.2) == cosine(0.05) > schedule.rate(5, 0.0)
    assert Schedule((0, 3)).rate(1, 0.3) == pytest.approx(cosine(0.1))  # without a float part
    assert Schedule((3, 3)).rate(3, 1.0) == pytest.approx(0)  # without a quantised one


@pytest.mark.parametrize(
    ("known", "done"),
    [
        (curve(0.1, 0.5), False),  # one cycle says nothing
        (curve(0.1, 0.5, 0.6), False),
        (curve(0.1, 0.5, 0.51), True),  # a fiftieth
        (curve(0.1, 0.5, 0.4), True),
        (curve(0.1, 0.5, 0.6, 0.61), True),
        (curve(0.1, 0.5, 0.6, 0.7), False),
        (curve(0.1, 0.4, 0.6, 0.8, 0.9), True),  # the last cycle
        (curve(0.1, 0.5, math.nan), True),
        (curve(0.1, math.nan), False),
        (curve(0.1, math.nan, 0.5), False),  # nothing to compare with yet
        (curve(math.nan, 0.3, 0.9), False),
        (curve(-400.0, 0.2, 0.9), False),  # how bad it was untrained says nothing
        (curve(-100.0, -5.0, -3.0), False),
        (curve(-100.0, -5.0, -4.9), True),
        ({k: v for k, v in curve(0.1, 0.5, 0.51).items() if k < 6}, False),  # within a cycle
    ],
)
def test_a_network_is_done_when_a_cycle_brings_little(known: dict[int, dict[str, float]], done: bool) -> None:
    schedule = Schedule(cycles(3), "accuracy")
    assert schedule.is_done(known) is done
    mirrored = {step: {"accuracy": -v["accuracy"]} for step, v in known.items()}
    assert Schedule(cycles(3), "accuracy", higher_is_better=False).is_done(mirrored) is done


def test_a_fixed_length_is_kept() -> None:
    known = curve(0.1, 0.5, 0.5)
    assert not Schedule((7,)).is_done(known)
    assert Schedule((6,)).is_done(known)
    assert not Schedule((6,)).is_best(known)


def test_the_best_cycle_is_known() -> None:
    schedule = Schedule(cycles(3), "accuracy")
    assert schedule.is_best(curve(0.1, 0.5))
    assert schedule.is_best(curve(0.1, 0.05))
    assert schedule.is_best(curve(0.1, 0.5, 0.6))
    assert not schedule.is_best(curve(0.1, 0.5, 0.4))
    assert not schedule.is_best(curve(0.1, 0.9, math.nan))
    assert not schedule.is_best(curve(0.1, math.nan))
    assert schedule.is_best(curve(0.1, math.nan, 0.5))
    assert not schedule.is_best({0: {"accuracy": 0.1}, 1: {"accuracy": 0.5}})
