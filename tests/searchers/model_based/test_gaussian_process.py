from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.model_based.gaussian_process import Kernel, Posterior
from raysearch.searchers.model_based.representation import Representation

PARAMETERS = (
    *(Parameter((f"c{i}",), "categorical", choices=("a", "b", "c")) for i in range(3)),
    *(Parameter((f"x{i}",), "float", 0.0, 1.0) for i in range(2)),
    Parameter(("n",), "integer", 1, 5),
)


@pytest.fixture
def data():
    representation = Representation(Encoding(PARAMETERS))
    points = representation.snapped(np.random.default_rng(0).random((40, 6)))
    y = (points[:, :3] > 0.5).sum(axis=1) + np.sin(3 * points[:, 3]) + points[:, 5]
    return Kernel(representation), representation(points, np.ones(points.shape, dtype=bool)), y


def test_the_gradient_is_that_of_the_density(data):
    kernel, features, y = data
    theta = kernel.prior_mean + 0.3 * np.random.default_rng(1).standard_normal(len(kernel.prior_mean))
    arguments = (features, (y - y.mean()) / y.std(), np.full(len(y), 0.01))

    def part(i):
        return lambda t: kernel.negative_log_posterior(t, *arguments)[i]

    assert check_grad(part(0), part(1), theta) < 1e-4


def test_both_ways_to_the_kernel_agree(data):
    kernel, features, _ = data
    gram = kernel(kernel.prior_mean, features, features)
    assert np.diag(gram) == pytest.approx(np.full(len(gram), kernel.variance(kernel.prior_mean)))
    assert np.linalg.eigvalsh(gram).min() > -1e-9


def test_it_predicts_what_it_has_not_seen(data):
    kernel, features, y = data
    theta = kernel.fitted(kernel.prior_mean, features[:30], y[:30], np.zeros(30))
    mean, deviation = Posterior.of(kernel, theta, features[:30], y[:30], np.zeros(30))(features)
    assert mean[:30] == pytest.approx(y[:30], abs=0.2)
    assert np.corrcoef(mean[30:], y[30:])[0, 1] > 0.9
    assert deviation[30:].mean() > deviation[:30].mean()


def test_noise_is_not_followed(data):
    kernel, features, y = data
    odd = y.copy()
    odd[0] += 10
    noise = np.where(np.arange(len(y)) == 0, 100.0, 0.0)
    mean, _ = Posterior.of(kernel, kernel.prior_mean, features, odd, noise)(features)
    assert abs(mean[0] - y[0]) < 3


def test_equal_values_are_borne(data):
    kernel, features, _ = data
    flat = np.ones(len(features))
    theta = kernel.fitted(kernel.prior_mean, features, flat, np.zeros(len(flat)))
    mean, deviation = Posterior.of(kernel, theta, features, flat, np.zeros(len(flat)))(features)
    assert mean == pytest.approx(flat)
    assert np.isfinite(deviation).all()
