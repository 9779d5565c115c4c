from __future__ import annotations

import pytest
from fake_run import EPOCHS, make_events, write_run

from raysearch.objectives import Goals
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.fixed import FixedList
from raysearch.simulation import simulate
from raysearch.simulation.recorded_curves import curves_of


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "digits", make_events(24))


def test_finished_trials_are_replayed_as_the_journal_has_them(run_folder):
    curves = curves_of(run_folder)
    events = make_events(24)
    finished = {
        e["trial"]
        for e in events
        if e["event"] == "end" and e["outcome"] == "finished" and e["trial"].isdigit()
    }
    assert len(curves.configs) == len(finished)
    assert curves.left_out == 24 - len(finished)
    assert (curves.problem.first_step, curves.problem.last_step) == (0, EPOCHS + 1)
    run = simulate(curves.problem, FixedList(curves.configs), FullTraining(), max_trials=99)
    reported = [e["values"] for e in events if e["event"] == "report" and e["trial"] in finished]
    assert [r.values for r in run.reports] == reported
    assert run.spent == pytest.approx(0.5 * len(reported))  # the fake clock ticks half a second a line


def test_a_scheduler_saves_work_on_them(run_folder):
    curves = curves_of(run_folder)
    goals = Goals.parse(["maximize accuracy"], last_step=EPOCHS + 1)

    def spent(scheduler):
        trials = len(curves.configs)
        return simulate(
            curves.problem, FixedList(curves.configs), scheduler, workers=2, max_trials=trials
        ).spent

    assert spent(SuccessiveHalving(goals, max_step=EPOCHS)) < 0.8 * spent(FullTraining())


def test_a_night_between_two_sessions_is_no_slow_epoch(tmp_path):
    events = make_events(3)
    names = [e["trial"] for e in events if e["event"] == "end" and e["outcome"] == "finished"]
    seen = 0
    for event in events:
        seen += event.get("trial") == names[-1] and event["event"] == "report"
        event["time"] += 40_000.0 if seen > 5 else 0.0
    curves = curves_of(write_run(tmp_path, events))
    assert curves.problem.cost(curves.configs[-1], 1) == pytest.approx(0.5)


def test_a_journal_without_times_costs_one_a_step(tmp_path):
    events = [{**event, "time": 0.0} for event in make_events(3)]
    curves = curves_of(write_run(tmp_path, events))
    assert curves.problem.cost(curves.configs[0], 1) == 1.0


def test_a_run_without_a_finished_trial_is_refused(tmp_path):
    events = [e for e in make_events(2) if not (e["event"] == "end" and e["trial"].isdigit())]
    with pytest.raises(ValueError, match="no finished trial"):
        curves_of(write_run(tmp_path, events))
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        curves_of(tmp_path / "nowhere")
