"""Repairing a division that breaks its branches' caps."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.allocation import instances as ready
from raysearch.allocation import redistribute

A = ready.instance_a()


def test_redistribution_repairs_oversize_branches_at_the_fewest_megabytes():
    given_ratios = np.full(12, 0.4)
    found = redistribute(A, given_ratios)
    assert found.raised == ("2", "3", "6", "7")
    assert found.reached
    assert found.accuracy == pytest.approx(A.weighted_accuracy(given_ratios), abs=1e-9)
    assert (A.sizes(found.ratios) <= A.caps * (1 + 1e-9)).all()
    assert (found.ratios[[2, 3, 6, 7]] >= 0.4).all()
    assert (np.delete(found.ratios, [2, 3, 6, 7]) <= 0.4).all()
    hopeless = redistribute(A, given_ratios, accuracy=80)
    assert not hopeless.reached
    np.testing.assert_allclose(hopeless.ratios, A.low, atol=1e-9)
    with pytest.raises(ValueError, match="one a branch"):
        redistribute(A, [0.4])
    with pytest.raises(ValueError, match="accuracy is nan: give the weighted accuracy"):
        redistribute(A, given_ratios, accuracy=np.nan)
