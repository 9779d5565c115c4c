"""What need not be measured."""

from __future__ import annotations

import numpy as np

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
    some = zip(models[60:180], described[60:180], strict=True)
    sure = [(s, made.measured(model)) for model, told in some if (s := rule.sure(told)) is not None]
    assert len(sure) > 50
    assert all(s.low <= s.mean <= s.high and s.high - s.low <= 2 * TOLERANCE * s.mean for s, _ in sure)
    assert all(s.models == 60 for s, _ in sure)
    assert np.median([abs(s.mean / true - 1) for s, true in sure]) < 0.05
    assert np.mean([s.low <= true <= s.high for s, true in sure]) > 0.85


def test_nothing_is_sure_from_a_few_on_a_noisy_device_or_of_what_was_never_measured(
    models, described, device
):
    for count in (0, 9, 19):
        few = learnt(models, described, device(1), count)
        assert all(few.sure(told) is None for told in described[60:120])
    noisy = learnt(models, described, device(1, noise=0.5))
    assert all(noisy.sure(told) is None for told in described[60:120])
    unknown = features([*models[100], Operator("LSTM", macs=1e8, moved=1e6)])
    assert learnt(models, described, device(1)).sure(unknown) is None


def test_where_a_limit_decides_it_is_measured(models, described, device):
    free = learnt(models, described, device(1))
    told = next(told for told in described[60:120] if free.sure(told) is not None)
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
    some = zip(models[200:260], described[200:260], strict=True)
    sure = [(s, 2 * slow.cost(model)) for model, told in some if (s := before.sure(told)) is not None]
    assert sure
    assert np.median([abs(s.mean / true - 1) for s, true in sure]) < 0.1
    assert {s.models for s, _ in sure} == {64}


def test_a_device_that_is_known_needs_ten_fewer(models, described, device):
    made = device(1)
    known = fit(described[:30], [made.measured(model) for model in models[:30]])
    sure = {}
    for count in (9, 10, 19, 20):
        for before in (None, known):
            rule = Sparing(before)
            for model, told in zip(models[100 : 100 + count], described[100:], strict=False):
                rule.learn(told, made.measured(model))
            sure[count, before is known] = sum(rule.sure(told) is not None for told in described[200:260])
    assert sure[9, True] == sure[9, False] == sure[10, False] == sure[19, False] == 0
    assert min(sure[10, True], sure[19, True], sure[20, True], sure[20, False]) > 5


def test_a_predictor_of_another_device_is_found_out(models, described, device):
    other, made = device(2), device(1)
    known = fit(described[:30], [other.measured(model) for model in models[:30]])
    rule = Sparing(known)
    for model, told in zip(models[100:115], described[100:], strict=False):
        rule.learn(told, made.measured(model))
    assert all(rule.sure(told) is None for told in described[200:260])


def test_a_wider_tolerance_spares_more(models, described, device):
    counts = []
    for tolerance in (0.05, 0.1, 0.15, 0.3):
        rule = learnt(models, described, device(1), 30, tolerance=tolerance)
        counts.append(sum(rule.sure(told) is not None for told in described[200:260]))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_a_device_whose_intervals_held_too_little_is_sure_of_less(models, described, device):
    """Every fifth model is in truth much slower than its operators say."""
    made = device(1)
    rule, sure = Sparing(), []
    for number, (model, told) in enumerate(zip(models[:90], described, strict=False)):
        true = made.measured(model) * (1.5 if number % 5 == 0 else 1.0)
        said = rule.sure(told)
        if said is None:
            rule.learn(told, true)
        else:
            sure.append(said.low <= true <= said.high)
    assert len(sure) < 20 or np.mean(sure) > 0.8


def test_intervals_are_as_wide_as_the_latest_predictions_were_off(models, described, device):
    made = device(1)
    good = learnt(models, described, made)
    shaken = learnt(models, described, made)
    for model, told in zip(models[60:80], described[60:80], strict=True):
        good.learn(told, made.measured(model))
        shaken.learn(told, made.measured(model))
    assert good.sure(described[90]) is not None
    for model, told in zip(models[100:105], described[100:105], strict=True):
        shaken.learn(told, 3 * made.measured(model))
    assert shaken.sure(described[90]) is None


def test_what_may_be_the_cheapest_is_measured(models, described, device):
    made = device(1)
    rule = learnt(models, described, made)
    cheapest = min(device(1).measured(model) for model in models[:60])
    some = zip(models[60:180], described[60:180], strict=True)
    said = [(rule.sure(told), device(1).cost(model)) for model, told in some]
    assert all(s is None for s, true in said if true < cheapest)
    assert all(s.low > cheapest for s, _ in said if s is not None)
