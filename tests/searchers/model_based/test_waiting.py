from __future__ import annotations

import math

import numpy as np

from raysearch.searchers.model_based.waiting import as_features


def test_what_trials_reported_enters_by_rank():
    found = as_features([[0.10], [0.11], [0.90], [0.12]])
    assert found[:, 0].tolist() == [0.125, 0.375, 0.875, 0.625]


def test_what_is_unknown_stands_in_the_middle():
    found = as_features([[math.nan, 1.0], [5.0, 2.0], [math.inf, 3.0]])
    assert found[:, 0].tolist() == [0.5, 0.5, 0.5]
    assert np.all(np.diff(found[:, 1]) > 0)


def test_ties_share_a_rank():
    assert as_features([[1.0], [1.0], [2.0]])[:, 0].tolist() == [1 / 3, 1 / 3, 5 / 6]
