from __future__ import annotations

import pytest

from raysearch.basics.failures import UserError
from raysearch.objectives import Constraint, Objective
from raysearch.sweeps.quality import column, quality_of, signed

RMSE = {"rmse": "", "r2": ""}


def test_the_goals_say_which_way_a_metric_is_better() -> None:
    up, down = Objective("rmse", True), Objective("rmse", False)
    assert quality_of(RMSE, [Objective("size_mb", False), down]) == down
    assert quality_of(RMSE, [Objective("size_mb", False)], [Constraint.parse("rmse <= 3")]) == down
    assert quality_of(RMSE, [up], [Constraint.parse("rmse <= 3")]) == up
    assert quality_of({"accuracy": ""}) == Objective("accuracy", True)


def test_nothing_is_guessed() -> None:
    with pytest.raises(UserError, match=r"give objectives: \[maximize rmse\] or \[minimize rmse\]"):
        quality_of(RMSE, [Objective("size_mb", False)])


def test_tables_hold_what_is_better_where_it_is_higher() -> None:
    assert (column(Objective("rmse", False)), signed(Objective("rmse", False), 2.5)) == ("-rmse", -2.5)
    assert (column(Objective("r2", True)), signed(Objective("r2", True), 0.9)) == ("r2", 0.9)
