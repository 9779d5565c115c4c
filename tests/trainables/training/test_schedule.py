"""How epochs are divided, and when a network is done."""

from __future__ import annotations

import math

import pytest
import torch

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


def test_one_cycle_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=101, pct_start=0.3, cycle_momentum=False
    )
    schedule = Schedule((10,), form="onecycle", warmup=0.3)
    for step in range(100):
        # Torch's first phase ends a step sooner than its share of all steps.
        progress = step / 29.3 * 0.3 if step < 29.3 else 0.3 + (step - 29.3) / 70.7 * 0.7
        epoch = min(int(progress * 10), 9)
        found = schedule.rate(epoch + 1, progress * 10 - epoch)
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        reference.step()
    assert schedule.rate(10, 1.0) == pytest.approx(1 / 25e4)


def test_a_constant_rate_rises_and_stays() -> None:
    schedule = Schedule((2, 4), form="constant", warmup=0.5)
    rates = [schedule.rate(epoch, share) for epoch in (1, 2, 3, 4) for share in (0.0, 0.5)]
    assert rates == [0.05, 0.5, 1, 1, 0.05, 0.5, 1, 1]
    assert Schedule((2,), form="constant", warmup=0.0).rate(1, 0.0) == 1


@pytest.mark.parametrize("form", ["cosine", "onecycle"])
def test_a_warm_up_is_as_long_as_it_says(form: str) -> None:
    for warmup in (0.0, 0.2, 0.9):
        schedule = Schedule((10,), form=form, warmup=warmup)
        rates = {i / 100: schedule.rate(min(i // 10, 9) + 1, i / 10 - min(i // 10, 9)) for i in range(101)}
        assert max(rates, key=lambda at: rates[at]) == pytest.approx(warmup)
        assert max(rates.values()) == pytest.approx(1)
        assert 0 <= min(rates.values()) <= rates[1.0] + 1e-9 <= 1e-5
