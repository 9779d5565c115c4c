from __future__ import annotations

import math

import numpy as np
import pytest

from raysearch.searchers.model_based.evidence import Evidence
from raysearch.searchers.model_based.scaling import scaled


def evidence(costs, violations=None):
    costs = np.array(costs, dtype=float)
    n = len(costs)
    return Evidence(
        vectors=np.zeros((n, 1)),
        active=np.ones((n, 1), dtype=bool),
        targets=costs,
        variances=np.zeros(costs.shape),
        finished=np.ones(n, dtype=bool),
        running=np.zeros(n, dtype=bool),
        steps=np.full(n, 9),
        violations=np.zeros(n) if violations is None else np.array(violations),
        names=np.arange(n).astype(str),
    )


def test_the_front_spans_the_unit_and_beyond_it_costs_are_bent():
    found = scaled(evidence([[1, 3], [2, 2], [3, 1], [9, 9]]), np.full(2, math.inf))
    targets, _, front, reference = found
    assert front.tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    assert targets[3] == pytest.approx(1 + np.log(4))
    assert (reference == 1.5).all()


def test_a_limit_within_reach_is_the_reference():
    reference = scaled(evidence([[1, 3], [2, 2], [3, 1]]), np.array([3.2, math.inf]))[3]
    assert reference[0] == pytest.approx(1 + np.log(1.1))
    assert reference[1] == 1.5


def test_a_narrow_front_does_not_shrink_the_scale():
    costs = [[0.99, 0.02], [1.0, 0.01], *[[0.1 * i, 0.9] for i in range(1, 9)]]
    violations = [0, 0] + [1] * 8
    targets, _, _, reference = scaled(evidence(costs, violations), np.array([math.inf, 0.06]))
    assert targets[1, 1] == 0
    assert targets[0, 1] < 0.2, "a hundredth is little beside the nine tenths that were seen"
    assert 0 < reference[1] < 1.5


def test_equal_costs_are_borne():
    targets, variances, front, _ = scaled(evidence([[1, 1], [1, 1]]), np.full(2, math.inf))
    assert np.isfinite(targets).all()
    assert np.isfinite(variances).all()
    assert len(front)
