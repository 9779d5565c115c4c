"""Features as terms of a cost."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.backends.predictor.terms import Terms

MODELS = [
    {"Add/count": 1.0, "Conv in integers/count": 3.0, "Conv in integers/macs": 10.0},
    {"Add/count": 4.0},
]


def test_an_average_model_has_a_total_of_one():
    (reading,) = Terms(MODELS).readings(MODELS)
    counts, macs, integer_counts, integer_macs = reading.totals.T
    assert counts == pytest.approx([1, 1])
    assert macs == pytest.approx([2, 0])
    assert integer_counts == pytest.approx([0.75, 0])
    assert integer_macs == pytest.approx([2, 0])
    assert reading.guess == pytest.approx([1.5, 0.5])
    assert reading.kinds.sum(axis=1) == pytest.approx([3, 1])


def test_idle_operators_make_a_second_reading():
    models = [*MODELS, {"Add/count": 1.0, "idle Add/count": 4.0}]
    every, needed = Terms(models).readings(models)
    assert every.totals[2, 0] == pytest.approx(5 * needed.totals[2, 0])
    assert np.array_equal(every.totals[:2], needed.totals[:2])


def test_kinds_never_seen_count_in_the_totals():
    (known,) = Terms(MODELS).readings([{"Add/count": 2.0}])
    (new,) = Terms(MODELS).readings([{"Add/count": 2.0, "Exp/count": 2.0, "Exp/joules": 9.0}])
    assert new.totals[0, 0] == pytest.approx(2 * known.totals[0, 0])
    assert (new.kinds > 0).sum() == 2
