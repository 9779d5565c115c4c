"""What need not be measured."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.backends.predictor import Operator, features, fit
from raysearch.backends.predictor.sparing import TOLERANCE, Sparing


def learnt(models, described, device, count=60, **options):
    rule = Sparing(**options)
    for model, told in zip(models[:count], described[:count], strict=True):
        rule.learn(told, device.measured(model))
    return rule


def test_what_is_sure_lies_where_it_is_said_to(models, described, device):
    made = device(1)
    rule = learnt(models, described, made)
    said = [(rule.sure(told), made.measured(model)) for model, told in zip(models, described, strict=True)]
    sure = [(s, true) for s, true in said[60:] if s is not None]
    assert len(sure) > 150  # of 340
    assert all(s.low <= s.mean <= s.high and s.high - s.low <= 2 * TOLERANCE * s.mean for s, _ in sure)
    assert all(s.models == 60 for s, _ in sure)
    assert np.median([abs(s.mean / true - 1) for s, true in sure]) < 0.05
    assert np.mean([s.low <= true <= s.high for s, true in sure]) > 0.85


def test_nothing_is_sure_from_a_few_on_a_noisy_device_or_of_what_was_never_measured(
    models, described, device
):
    assert learnt(models, described, device(1), 9).sure(described[100]) is None
    noisy = learnt(models, described, device(1, noise=0.5))
    assert all(noisy.sure(told) is None for told in described[60:])
    unknown = features([*models[100], Operator("LSTM", macs=1e8, moved=1e6)])
    assert learnt(models, described, device(1)).sure(unknown) is None


def test_where_a_limit_decides_it_is_measured(models, described, device):
    free = learnt(models, described, device(1))
    told = next(told for told in described[60:] if free.sure(told) is not None)
    sure = free.sure(told)
    assert sure is not None
    half = (sure.high - sure.low) / 2
    for away, measured in ((0.0, True), (1.9, True), (-1.9, True), (2.1, False), (-2.1, False)):
        bound = learnt(models, described, device(1), limits=[1e9, sure.mean + away * half])
        assert (bound.sure(told) is None) == measured


def test_the_latest_are_what_counts(models, described, device):
    """A device that has become twice as slow is known as it is now."""
    before = learnt(models, described, device(1), 100)
    slow = device(1)
    for model, told in zip(models[100:200], described[100:200], strict=True):
        before.learn(told, 2 * slow.measured(model))
    said = [(before.sure(told), 2 * slow.cost(model)) for model, told in zip(models, described, strict=True)]
    sure = [(s, true) for s, true in said[200:] if s is not None]
    assert sure
    assert np.median([abs(s.mean / true - 1) for s, true in sure]) < 0.1
    assert {s.models for s, _ in sure} == {64}


def test_a_known_device_makes_more_sure(models, described, device):
    made = device(1)
    known = fit(described[:100], [made.measured(model) for model in models[:100]])
    alone = learnt(models, described, device(1), 12)
    helped = learnt(models, described, device(1), 12, known=[known])
    count = [sum(rule.sure(told) is not None for told in described[200:]) for rule in (alone, helped)]
    assert count[1] > count[0]


@pytest.mark.parametrize("tolerance", [0.05, 0.3])
def test_a_wider_tolerance_spares_more(models, described, device, tolerance):
    usual = learnt(models, described, device(1), 20)
    other = learnt(models, described, device(1), 20, tolerance=tolerance)
    count = [sum(rule.sure(told) is not None for told in described[200:]) for rule in (usual, other)]
    assert (count[1] > count[0]) == (tolerance > TOLERANCE)
