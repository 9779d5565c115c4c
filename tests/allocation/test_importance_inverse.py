"""The rule that prunes the unimportant more, beside the optimum."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raysearch.allocation import importance_inverse
from raysearch.allocation import instances as ready

A, VIEWS = ready.instance_a(), ready.instance_b_views()


def test_the_inverse_rule_meets_its_target_and_costs_more_than_the_optimum():
    found = importance_inverse(VIEWS, 75)
    assert found.before == pytest.approx(66.46, abs=0.005)
    assert found.accuracy == pytest.approx(75, abs=1e-6)
    assert found.correlation == pytest.approx(-1, abs=1e-9)
    assert found.eased == ()
    assert found.optimum_size_mb < found.size_mb
    assert VIEWS.weighted_accuracy(found.optimum) >= 75 - 1e-9
    assert found.frame["ratio"].tolist() == found.ratios.tolist()


def test_where_scaling_is_not_enough_the_most_important_are_eased_first():
    found = importance_inverse(VIEWS, 75, least_scale=0.9)
    assert found.scale == 0.9
    assert found.eased == ("10", "6", "7")  # view 0 is the most important, and the rule does not prune it
    assert found.accuracy == pytest.approx(75, abs=1e-6)
    assert found.ratios[10] == found.ratios[6] == 0 < found.ratios[7]


def test_caps_are_kept_by_the_inverse_rule():
    found = importance_inverse(A, 70)
    assert (found.ratios >= A.low - 1e-12).all()
    assert found.accuracy >= 70 - 1e-9
    assert importance_inverse(VIEWS, 60).scale == 1


def test_a_total_cap_that_the_rule_breaks_is_said_and_the_optimum_keeps_it():
    rule = importance_inverse(VIEWS, 75)
    assert rule.violation == 0
    between = importance_inverse(replace(VIEWS, total_cap=2500.0), 75)
    assert between.optimum_size_mb < 2500 < between.size_mb
    assert between.violation == pytest.approx(between.size_mb / 2500 - 1)
    with pytest.raises(
        ValueError, match="target is 75, but within the caps the weighted accuracy is at most 74"
    ):
        importance_inverse(replace(VIEWS, total_cap=2300.0), 75)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (80, {}, "within the caps the weighted accuracy is at most 76.48"),
        (70, {"steepest": 1.5}, "steepest is 1.5"),
        (70, {"least_scale": -1}, "least_scale -1"),
    ],
)
def test_bad_inverse_rules_are_refused(target, options, message):
    with pytest.raises(ValueError, match=message):
        importance_inverse(A, target, **options)


def test_equal_importances_have_no_inverse():
    equal = tuple(replace(b, importance=1 / 12) for b in A.branches)
    with pytest.raises(ValueError, match="all importances are equal"):
        importance_inverse(replace(A, branches=equal), 70)
