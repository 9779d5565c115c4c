"""The predictor on devices whose costs are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import spearmanr, wilcoxon

from raysearch.backends.predictor import Predictor, fit, from_state
from raysearch.basics.failures import UserError

MEASURED = (10, 20)
DEVICES = range(12)


def measure(device, models, places):
    return [device.measured(models[place]) for place in places]


def ranks(described, models, device, count, predict):
    """Rank correlation with true costs of what is predicted from random models."""
    places = np.random.default_rng(count).permutation(len(models))[:count]
    values = measure(device, models, places)
    mean = predict([described[p] for p in places], values, described)
    return spearmanr(mean, [device.cost(model) for model in models])[0]


def ridge(given, values, wanted):
    """The baseline: a ridge on the counts of operators."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    names = sorted({name for model in given for name in model if name.endswith("/count")})
    counts = [np.array([[m.get(name, 0.0) for name in names] for m in some]) for some in (given, wanted)]
    scaler = StandardScaler().fit(counts[0])
    return Ridge(1.0).fit(scaler.transform(counts[0]), values).predict(scaler.transform(counts[1]))


@pytest.mark.parametrize("count", MEASURED)
def test_better_than_a_ridge_on_counts(described, models, device, count):
    ours = [
        ranks(described, models, device(s), count, lambda g, v, w: fit(g, v).predict(w).mean) for s in DEVICES
    ]
    theirs = [ranks(described, models, device(s), count, ridge) for s in DEVICES]
    assert wilcoxon(ours, theirs, alternative="greater").pvalue < 0.01
    assert np.mean(ours) > 0.95


@pytest.mark.parametrize("count", MEASURED)
def test_intervals_hold_nine_in_ten(described, models, device, count):
    held = []
    for seed in range(20):
        one = device(seed, noise=0.1)
        places = np.random.default_rng(seed).permutation(len(models))
        predictor = fit([described[p] for p in places[:count]], measure(one, models, places[:count]))
        found = predictor.predict([described[p] for p in places[count:]])
        costs = measure(one, models, places[count:])
        held.append(np.mean((found.low <= costs) & (costs <= found.high)))
    assert 0.85 <= np.mean(held) <= 0.97


def test_more_measurements_help(described, models, device):
    def found(count):
        predict = lambda g, v, w: fit(g, v).predict(w).mean  # noqa: E731
        return np.mean([ranks(described, models, device(seed), count, predict) for seed in DEVICES])

    assert found(3) < found(10) < found(50)


def test_a_disturbed_measurement_is_weighed_down(described, models, device):
    one, places = device(0), range(20)
    values = measure(one, models, places)
    truth = [one.cost(model) for model in models]
    disturbed = [*values[:-1], 5 * values[-1]]
    given = [described[p] for p in places]
    right, wrong = (fit(given, v).predict(described).mean for v in (values, disturbed))
    off = np.median(np.abs(wrong / truth - 1))
    assert off < 2 * np.median(np.abs(right / truth - 1)) + 0.03


def test_a_known_device_helps_where_little_is_measured(described, models, device):
    gains = []
    for seed in DEVICES:
        known = fit(described[:100], measure(device(seed), models, range(100)))
        again = device(seed)
        values = measure(again, models, range(300, 304))
        truth = [again.cost(model) for model in models]
        alone, helped = (fit(described[300:304], values, some) for some in ((), (known,)))
        gains.append(spearmanr(helped.predict(described).mean, truth)[0])
        gains[-1] -= spearmanr(alone.predict(described).mean, truth)[0]
    assert np.mean(gains) > 0
    assert np.mean(np.array(gains) > 0) > 0.7


def test_the_unit_does_not_matter(described, models, device):
    values = np.array(measure(device(1), models, range(12)))
    small, large = (fit(described[:12], (unit * values).tolist()).predict(described) for unit in (1e-6, 1e6))
    for name in ("mean", "low", "high"):
        assert getattr(large, name) == pytest.approx(1e12 * getattr(small, name), rel=1e-6)


def test_units_of_features_do_not_matter(described, models, device):
    values = measure(device(1), models, range(12))
    thousands = [{n: v / 1e3 if n.endswith("/macs") else v for n, v in m.items()} for m in described]
    one, other = (fit(some[:12], values).predict(some).mean for some in (described, thousands))
    assert one == pytest.approx(other, rel=1e-6)


def test_intervals_widen_for_operators_never_measured(described, models, device):
    predictor = fit(described[:20], measure(device(0), models, range(20)))
    strange = {**described[30], "Attention/count": 20.0, "Attention/macs": 1e8}
    known, new = predictor.predict([described[30]]), predictor.predict([strange])
    assert new.high - new.low > 2 * (known.high - known.low)
    assert new.mean > known.mean


def test_equal_measurements_give_equal_predictions(described, models, device):
    values = measure(device(0), models, range(10))
    one, two = (fit(described[:10], values).predict(described) for _ in range(2))
    assert np.array_equal(one.mean, two.mean)
    assert np.array_equal(one.high, two.high)


def test_state_goes_through_json(described, models, device):
    known = fit(described[:50], measure(device(3), models, range(50)))
    predictor = fit(described[:10], measure(device(0), models, range(10)), [known])
    again = from_state(json.loads(json.dumps(predictor.state())))
    assert isinstance(again, Predictor)
    assert np.array_equal(again.predict(described).high, predictor.predict(described).high)


def test_two_equal_models_and_one_without_features_are_taken(described):
    found = fit([described[0], described[0], {}], [1.0, 1.1, 0.2]).predict([described[0], {}])
    assert np.isfinite(found.high).all()
    assert (found.low >= 0).all()
    assert fit(described[:3], [1, 2, 3]).predict([]).mean.shape == (0,)


def test_hundreds_of_measurements_are_taken(described, models, device):
    one = device(0)
    found = fit(described[:300], measure(one, models, range(300))).predict(described[300:])
    assert spearmanr(found.mean, [one.cost(model) for model in models[300:]])[0] > 0.98


@pytest.mark.parametrize(
    ("count", "values", "message"),
    [
        (1, [1.0], "1 measured models are too few"),
        (0, [], "0 measured models are too few"),
        (3, [1.0, 2.0], "3 models and 2 values"),
        (2, [1.0, math.nan], "value of model 1 is nan"),
        (2, [math.inf, 1.0], "value of model 0 is inf"),
        (2, [1.0, 0.0], "value of model 1 is 0.0"),
        (2, [1.0, "fast"], "value of model 1 is 'fast'"),
    ],
)
def test_bad_values_are_refused(described, count, values, message):
    with pytest.raises(UserError, match=message):
        fit(described[:count], values)


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf])
def test_bad_features_are_refused(described, value):
    bad = {"Add/count": value}
    with pytest.raises(UserError, match="feature 'Add/count' of model 1"):
        fit([described[0], bad], [1.0, 2.0])
    with pytest.raises(UserError, match="feature 'Add/count' of model 0"):
        fit(described[:2], [1.0, 2.0]).predict([bad])


def test_models_without_features_are_refused():
    with pytest.raises(UserError, match="none of the models has a feature"):
        fit([{}, {}], [1.0, 2.0])


@pytest.mark.parametrize("state", [{}, {"models": []}, 3])
def test_no_state_is_refused(state):
    with pytest.raises(UserError, match="not a predictor's state"):
        from_state(state)
