"""Which models are measured first."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr, wilcoxon

from raysearch.backends.predictor import fit, most_informative
from raysearch.basics.failures import UserError


def test_each_candidate_is_chosen_once(described):
    assert sorted(most_informative(described[:30], 50)) == list(range(30))
    assert most_informative(described[:30], 5) == most_informative(described[:30], 10)[:5]
    assert most_informative(described[:5], 0) == []
    assert most_informative([], 5) == []


def test_models_like_those_measured_are_left_for_later(described):
    chosen = most_informative(described[:50], 3)
    after = most_informative(described[:50], 3, measured=[described[place] for place in chosen])
    assert not set(chosen) & set(after)
    assert after == most_informative(described[:50], 6)[3:]


def test_better_than_a_random_choice(described, models, device):
    gains = []
    for seed in range(25):
        one, order = device(seed), np.random.default_rng(seed).permutation(300)
        truth = [one.cost(model) for model in models[300:]]
        chosen = order[most_informative([described[place] for place in order], 8)]
        found = []
        for places in (chosen, order[:8]):
            predictor = fit([described[p] for p in places], [one.measured(models[p]) for p in places])
            found.append(spearmanr(predictor.predict(described[300:]).mean, truth)[0])
        gains.append(found[0] - found[1])
    assert wilcoxon(gains, alternative="greater").pvalue < 0.05


def test_bad_input_is_refused(described):
    with pytest.raises(UserError, match="count is -1"):
        most_informative(described, -1)
    with pytest.raises(UserError, match="feature 'Add/count' of model 1"):
        most_informative([described[0], {"Add/count": float("nan")}], 1)
