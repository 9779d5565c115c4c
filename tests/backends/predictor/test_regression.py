"""The regression behind the predictor, on numbers."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.backends.predictor.regression import Prior, regress


def prior(n: int, groups: int = 2, strengths=(1.0, 10.0, 100.0)) -> Prior:
    return Prior(np.array([[s**2] * groups for s in strengths]), np.zeros((len(strengths), n)))


def data(n: int, seed: int = 0, noise: float = 0.02):
    rng = np.random.default_rng(seed)
    terms = rng.uniform(0.5, 2.0, (n, 3))
    costs = terms @ [0.2, 0.5, 0.3]
    return terms, costs * np.exp(noise * rng.standard_normal(n)) / np.median(costs)


def test_coefficients_are_found():
    terms, costs = data(200)
    found = regress([terms, np.ones((200, 1))], costs, prior(200))
    mean, deviation = found.predict([terms, np.ones((200, 1))], np.zeros((3, 200)))
    assert np.abs(mean / costs - 1).mean() < 0.03
    assert deviation == pytest.approx(0.02 * costs, rel=0.5)
    assert found.mean([terms, np.ones((200, 1))], np.zeros((3, 200))) == pytest.approx(mean)


def test_many_terms_are_the_same_as_their_space():
    terms, costs = data(8)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 3)))[0]
    guesses = np.zeros((3, 8))
    few, many = (regress([some, np.ones((8, 1))], costs, prior(8)) for some in (terms, terms @ turn.T))
    for one, other in zip(
        few.predict([terms, np.ones((8, 1))], guesses),
        many.predict([terms @ turn.T, np.ones((8, 1))], guesses),
        strict=True,
    ):
        assert one == pytest.approx(other)


def test_what_was_never_seen_is_uncertain():
    terms, costs = data(20)
    terms[:, 2] = 0.0
    found = regress([terms, np.ones((20, 1))], costs, prior(20))
    seen, unseen = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 1.0, 1.0]])
    (_, near), (_, far) = (found.predict([x, np.ones((1, 1))], np.zeros((3, 1))) for x in (seen, unseen))
    assert far[0] > 3 * near[0]


def test_an_impossible_strength_is_left_out():
    terms, costs = data(50)
    found = regress([terms, np.ones((50, 1))], costs, prior(50, strengths=(1e-4, 10.0)))
    assert found.draws.tolist() == [1]
    assert found.weights == pytest.approx([1.0])
