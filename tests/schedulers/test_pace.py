"""What finishing trials takes, from the times of their reports."""

from __future__ import annotations

from raysearch.schedulers.pace import Pace


def test_a_trial_s_own_pace_and_that_of_all() -> None:
    pace = Pace()
    assert pace.until("a", 0, 5) == 0.0  # nothing is known yet
    pace.began("a", -1, 100.0)
    pace.reported("a", 0, 130.0, 5)
    assert pace.until("a", 0, 5) == 0.0  # step 0 is no measure of an epoch
    pace.reported("a", 1, 132.0, 5)
    pace.reported("a", 3, 136.0, 5)
    assert pace.until("a", 3, 5) == 4.0
    assert pace.until("b", -1, 5) == pace.until("b", 0, 5) == 10.0
    pace.began("b", 0, 200.0)
    pace.reported("b", 1, 206.0, 5)
    assert pace.until("b", 1, 5) == 24.0
    assert pace.until("c", 0, 4) == 12.0  # 12 over four steps


def test_a_pause_is_no_time_of_training() -> None:
    pace = Pace()
    pace.began("a", 0, 0.0)
    pace.reported("a", 1, 1.0, 5)
    pace.began("a", 1, 1000.0)
    pace.reported("a", 2, 1001.0, 5)
    assert pace.until("a", 2, 3) == 1.0


def test_the_last_step_has_a_time_of_its_own() -> None:
    pace = Pace()
    pace.began("a", 0, 0.0)
    for step, time in ((1, 1.0), (2, 2.0), (3, 12.0)):
        pace.reported("a", step, time, 3)
    assert pace.until("b", 0, 3) == 12.0
    assert pace.until("b", 2, 3) == 10.0
    assert pace.until("b", 3, 3) == 0.0
