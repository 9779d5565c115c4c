"""A replay under limits that changed: as if they had held from the beginning, and nothing runs twice."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from journalled_run import EPOCHS, GOALS, make_conductor, work

from raysearch.objectives import Goals
from raysearch.record import journal
from raysearch.record.journal import Journal
from raysearch.record.run_record import RunRecord
from raysearch.record.scores import Scores
from raysearch.record.states import States
from raysearch.runs.conducting.conductor import Conductor
from raysearch.runs.conducting.replay import as_of_now, limits_in
from raysearch.schedulers import SCHEDULERS
from raysearch.schedulers.base import Decision
from raysearch.searchers import SEARCHERS

OTHER = Goals.parse(
    ["minimize error", "minimize size_mb", "minimize macs"],
    ["size_mb <= 6", "error <= 2"],
    last_step=EPOCHS + 1,
)
STUDY = {
    "task": {"name": "made up"},
    "objectives": [str(o) for o in GOALS.objectives],
    "constraints": [],
    "targets": ["torch-cpu"],
    "search": {"epochs": EPOCHS},
}
PROMOTING = {"name": "successive_halving", "form": "promote"}


def other(searcher: str) -> Goals:
    """The limits of later; moead takes no constraints."""
    return Goals.parse(STUDY["objectives"][::-1], last_step=EPOCHS + 1) if searcher == "moead" else OTHER


def change(folder: Path, goals: Goals = OTHER, targets: tuple[str, ...] = ("torch-cpu",)) -> None:
    """Let other limits hold in a run that nobody writes."""
    texts = {kind: [str(goal) for goal in getattr(goals, kind)] for kind in ("objectives", "constraints")}
    with contextlib.closing(Journal(folder)) as run:
        run.write("limits", **texts, targets=list(targets))


def begin(folder: Path) -> None:
    with contextlib.closing(Journal(folder)) as run:
        run.write("run", version=1, study=STUDY)


def anew(searcher: str, scheduler: Any, folder: Path, events: list[dict[str, Any]], screen: int) -> Conductor:
    """A conductor whose algorithms had the other limits from the beginning, and were given what was done."""
    conductor, _ = make_conductor(folder / "anew", searcher, 2, 16, scheduler, other(searcher), screen=screen)
    for event in events:
        if event["event"] == "suggestion":
            conductor.algorithms.searcher.ask(event["trial"], event.get("proposal", event["config"]))
        elif event["event"] == "report":
            decision = Decision(event["decision"])
            conductor.algorithms.scheduler.decide(event["trial"], event["step"], event["values"], decision)
            conductor.algorithms.searcher.tell(event["trial"], event["step"], event["values"])
        elif event["event"] == "promotion" and event.get("finishing"):
            conductor.algorithms.scheduler.finish(event["trial"])  # type: ignore[attr-defined]
        elif event["event"] == "promotion":
            conductor.algorithms.scheduler.promote(event["trial"])  # type: ignore[attr-defined]
        elif event["event"] == "end":
            conductor.algorithms.scheduler.end(event["trial"], event["outcome"])
            conductor.algorithms.searcher.end(event["trial"], event["outcome"])
    return conductor


def written(conductor: Conductor) -> str:
    """The state of both algorithms as text, in which NaN is NaN."""
    return json.dumps(conductor.state())


def check(folder: Path, searcher: str, scheduler: Any, screen: int = 1) -> None:
    """Change the limits of a run that was killed, go on, be killed at once and later, and end."""
    begin(folder)
    first, _ = make_conductor(folder, searcher, 1, 16, scheduler, screen=screen)
    work(first, trials=11)
    before = set(first.record.trials)
    change(folder, other(searcher))
    second, events = make_conductor(folder, searcher, 2, 16, scheduler, other(searcher), screen=screen)
    second.replay(events)
    expected = anew(searcher, scheduler, folder, events, screen)
    assert written(second) == written(expected)
    second.journal.close()  # killed before anything else
    third, events = make_conductor(folder, searcher, 2, 16, scheduler, other(searcher), screen=screen)
    third.replay(events)
    assert written(third) == written(expected)
    work(third, trials=14, prefix="third")
    fourth, events = make_conductor(folder, searcher, 2, 16, scheduler, other(searcher), screen=screen)
    fourth.replay(events)
    assert json.dumps(fourth.algorithms.scheduler.state()) == json.dumps(third.algorithms.scheduler.state())
    assert fourth._paused == third._paused
    work(fourth, trials=99, prefix="fourth")
    record = RunRecord.load(folder)
    suggested = [e["trial"] for e in journal.read(folder) if e["event"] == "suggestion"]
    assert len(suggested) == len(set(suggested)) == len({t.key for t in record.searched()}) == 16
    assert before <= set(suggested)
    assert all(trial.outcome for trial in record.searched())
    assert fourth.complete


@pytest.mark.parametrize("scheduler", [*SCHEDULERS, PROMOTING])
@pytest.mark.parametrize("searcher", ["random", "nsga2"])
def test_any_scheduler_ranks_anew(searcher: str, scheduler: Any, tmp_path: Path) -> None:
    check(tmp_path, searcher, scheduler)


@pytest.mark.parametrize("searcher", [name for name in SEARCHERS if name not in ("random", "nsga2")])
def test_any_searcher_ranks_anew(searcher: str, tmp_path: Path) -> None:
    check(tmp_path, searcher, "front_halving")


@pytest.mark.parametrize("searcher", ["nsga2", "model_based"])
def test_candidates_that_wait_rank_anew_too(searcher: str, tmp_path: Path) -> None:
    check(tmp_path, searcher, "front_halving", screen=3)


def test_a_state_of_other_limits_is_left(tmp_path: Path) -> None:
    begin(tmp_path)
    first, _ = make_conductor(tmp_path, "nsga2", 1, 16, states=States(tmp_path, least=10))
    work(first, trials=11)
    kept = States(tmp_path, least=10).read()
    assert kept
    again, events = make_conductor(tmp_path, "nsga2", 1, 16)
    assert len(as_of_now(events, again._trial_of)) >= max(kept)
    again.journal.close()
    change(tmp_path, Goals.parse([str(o) for o in GOALS.objectives], ["size_mb <= 6"], last_step=EPOCHS + 1))
    record = RunRecord.load(tmp_path)
    assert record.header["study"]["constraints"] == ["size_mb <= 6"]
    tight = Goals.parse(STUDY["objectives"], ["size_mb <= 6"], last_step=EPOCHS + 1)  # type: ignore[arg-type]
    plain, events = make_conductor(tmp_path, "nsga2", 1, 16, goals=tight)
    plain.replay(events)
    plain.journal.close()
    with_states, events = make_conductor(
        tmp_path, "nsga2", 1, 16, goals=tight, states=States(tmp_path, least=10)
    )
    with_states.replay(events)
    assert written(with_states) == written(plain) != written(first)
    work(with_states, trials=15, prefix="more")
    assert max(States(tmp_path).read()) > max(kept)  # which do for those limits
    last, events = make_conductor(tmp_path, "nsga2", 1, 16, goals=tight, states=States(tmp_path, least=10))
    assert last._states.newest(as_of_now(events, last._trial_of), limits_in(events), last.load).events == max(
        States(tmp_path).read()
    )
    last.journal.close()


def test_figures_on_a_target_that_came_later_are_told_where_they_would_have_been(tmp_path: Path) -> None:
    begin(tmp_path)
    first, _ = make_conductor(tmp_path, "nsga2", 1, 8)
    work(first, trials=99)
    finished = [t for t in first.record.searched() if t.outcome == "finished"]
    lost, *measured = finished
    goals = Goals.parse(["minimize error", "minimize latency_ms/late"], last_step=EPOCHS + 1)
    change(tmp_path, goals, ("torch-cpu", "late"))
    written = Journal(tmp_path)
    for place, trial in enumerate(measured):
        values = {"latency_ms/late": 1.0 + place, "error/late": 3.0, "error": 3.0}
        written.write("measured", trial=trial.name, target="late", values=values)
    written.write("measured", trial=lost.name, target="late", values={}, notes=["not measured on late: gone"])
    written.close()
    told: dict[tuple[str, int], dict[str, float]] = {}
    again, events = make_conductor(tmp_path, "nsga2", 1, 8, goals=goals)
    again.algorithms.searcher.tell = lambda name, step, values: told.update({(name, step): values})  # type: ignore[method-assign]
    again.replay(events)
    again.journal.close()
    for place, trial in enumerate(measured):
        assert told[trial.name, 0]["latency_ms/late"] == 1.0 + place
        assert told[trial.name, 0].keys() == {*trial.reports[0], "latency_ms/late"}
        assert told[trial.name, 1] == trial.reports[1]
        assert told[trial.name, EPOCHS + 1] == {**trial.reports[EPOCHS + 1], "error": 3.0, "error/late": 3.0}
    assert told[lost.name, 0] == lost.reports[0]
    record = RunRecord.load(tmp_path)
    assert record.later_targets == ["late"]
    assert record.changes[0].ended == 8
    assert [t.name for t in Scores(record).front] == [measured[0].name]  # alike in error, the fastest
