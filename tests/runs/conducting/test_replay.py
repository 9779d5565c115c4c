"""A run is gone on with by any searcher and scheduler: what the journal records is theirs."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from cpu_time import cpu_seconds
from journalled_run import make_conductor, work

from raysearch.record import journal
from raysearch.runs.conducting.conductor import Conductor
from raysearch.schedulers import SCHEDULERS
from raysearch.searchers import SEARCHERS

# What a searcher works out for suggestions to come, from its seed; all else is what it knows.
WORKED_OUT = ("thetas", "fitted_at", "optimum", "drawn", "news", "duplicates")


def knowledge(state: Any) -> Any:
    """A searcher's state without what it has worked out; of calls on a library, what it was told."""
    if isinstance(state, dict):
        return {
            k: calls(v) if k == "calls" else knowledge(v) for k, v in state.items() if k not in WORKED_OUT
        }
    return state


def calls(made: list[list[Any]]) -> list[list[Any]]:
    """The trials asked for, the reports and the ends; not the duplicates that were answered on the way."""
    return [call[:2] if call[0] == "ask" else call for call in made if "/" not in call[1]]


def no_model(*arguments: Any, **keywords: Any) -> None:
    raise AssertionError("a replay fits no model")


@pytest.mark.parametrize("name", SEARCHERS)
def test_any_seed_of_any_searcher_learns_every_report_and_runs_nothing_twice(name, tmp_path, monkeypatch):
    first, _ = make_conductor(tmp_path, name, seed=1, limit=16)
    work(first, trials=13)
    unfinished = {t.name for t in first.record.trials.values() if t.outcome is None}
    assert len(unfinished) == 3
    second, events = make_conductor(tmp_path, name, seed=2, limit=16)
    with monkeypatch.context() as patch:
        patch.setattr("raysearch.searchers.model_based.gaussian_process.Kernel.fitted", no_model)
        patch.setattr("raysearch.searchers.surrogate.surrogate_assisted.learn", no_model)
        patch.setattr("raysearch.searchers.libraries.qlognehvi._fitted", no_model)
        patch.setattr("raysearch.schedulers.rung.Standing", no_model)
        second.replay(events)
    assert knowledge(second.algorithms.searcher.state()) == knowledge(first.algorithms.searcher.state())
    assert second.algorithms.scheduler.state() == first.algorithms.scheduler.state()
    assert set(second.pending) == unfinished
    work(second, trials=99, prefix="again")
    trials = second.record.trials.values()
    assert len({trial.key for trial in trials}) == len(trials) == 16
    assert all(trial.outcome for trial in trials)
    assert second.complete


@pytest.mark.parametrize("name", ["random", "nsga2", "nsga3", "ctaea", "smsemoa"])
def test_with_the_same_seed_the_run_is_the_one_that_was_never_killed(name, tmp_path):
    whole, _ = make_conductor(tmp_path / "whole", name, seed=1, limit=20)
    work(whole, trials=99)
    (tmp_path / "cut").mkdir()
    written = (tmp_path / "whole" / journal.FILE_NAME).read_text().splitlines(keepends=True)
    for kept in range(9, len(written), 9):
        (tmp_path / "cut" / journal.FILE_NAME).write_text("".join(written[:kept]))
        cut, events = make_conductor(tmp_path / "cut", name, seed=1, limit=20)
        cut.replay(events)
        again, _ = make_conductor(tmp_path / "new", name, seed=1, limit=20)
        for event in journal.read(tmp_path / "cut"):  # with the end that the kill had cut off
            feed(again, event)
        assert cut.algorithms.searcher.ask("next") == again.algorithms.searcher.ask("next")
        cut.journal.close()
        again.journal.close()


def feed(conductor: Conductor, event: dict[str, Any]) -> None:
    """Let a searcher itself propose what the journal records."""
    if event["event"] == "suggestion":
        config = conductor.algorithms.searcher.ask(event["trial"])
        assert config == event.get("proposal", event["config"])
    elif event["event"] == "report":
        conductor.algorithms.searcher.tell(event["trial"], event["step"], event["values"])
    elif event["event"] == "end":
        conductor.algorithms.searcher.end(event["trial"], event["outcome"])


@pytest.mark.parametrize("scheduler", [*SCHEDULERS, {"name": "successive_halving", "form": "promote"}])
def test_the_recorded_decisions_are_the_schedulers_own(scheduler, tmp_path, monkeypatch):
    first, _ = make_conductor(tmp_path, "random", seed=1, limit=40, scheduler=scheduler)
    work(first, trials=36)
    second, events = make_conductor(tmp_path, "random", seed=1, limit=40, scheduler=scheduler)
    with monkeypatch.context() as patch:
        patch.setattr("raysearch.schedulers.rung.Standing", no_model)
        patch.setattr("raysearch.schedulers.median_stopping.Standing", no_model)
        second.replay(events)
    assert second.algorithms.scheduler.state() == first.algorithms.scheduler.state()
    assert second._paused == first._paused


def test_decisions_of_another_rule_stand(tmp_path):
    """Full training stopped nothing; halving, which would have, goes on with what is there."""
    first, _ = make_conductor(tmp_path, "random", seed=1, limit=20, scheduler="full_training")
    work(first, trials=15)
    second, events = make_conductor(tmp_path, "random", seed=1, limit=20)
    second.replay(events)
    assert [t.outcome for t in second.record.trials.values()].count("stopped") == 0
    rung = second.algorithms.scheduler.state()["rungs"][0]["trials"]
    assert rung == [t.name for t in second.record.trials.values() if 1 in t.reports]


def test_a_journal_without_proposals_is_replayed_by_its_configs(tmp_path):
    """As version 0.1.0 wrote it: inactive parameters are unknown; still no variant is run twice."""
    first, _ = make_conductor(tmp_path, "nsga2", seed=1, limit=16)
    work(first, trials=13)
    path = tmp_path / journal.FILE_NAME
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert any("proposal" in event for event in events)
    for event in events:
        event.pop("proposal", None)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    second, events = make_conductor(tmp_path, "nsga2", seed=2, limit=16)
    second.replay(events)
    work(second, trials=99, prefix="again")
    trials = second.record.trials.values()
    assert len({trial.key for trial in trials}) == len(trials) == 16


def test_a_replay_costs_in_proportion_to_the_journal(tmp_path, monkeypatch):
    """Four times the trials cost some four times the time, where comparing all would cost sixteen times."""

    monkeypatch.setattr("os.fsync", lambda file: None)

    def seconds(trials: int) -> float:
        folder = tmp_path / str(trials)
        first, _ = make_conductor(folder, "nsga2", seed=1, limit=trials)
        work(first, trials=10 * trials)
        events = list(journal.read(folder))
        again, _ = make_conductor(folder, "nsga2", seed=1, limit=trials)
        found = cpu_seconds(lambda: again.replay(events))
        again.journal.close()
        return found

    few, many = seconds(200), seconds(800)
    assert math.log(many / few, 4) < 1.5
