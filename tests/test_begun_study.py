"""A study whose folder holds a run of it: what was resolved when that began, and other limits."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from trial_setup import small_task

from raysearch import Study
from raysearch import search_spaces as spaces
from raysearch.record.journal import Journal
from raysearch.runs import phases
from raysearch.runs.session import Work, begun

SPACE = {"training": {"lr": tune.loguniform(1e-4, 1e-2)}}
OBJECTIVES = ["maximize accuracy", "minimize size_mb"]
TARGET = "onnxruntime-cpu"

Done = list[tuple[Work, dict[str, Any]]]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """What would be done, of studies that the run in their folder is not another's of."""
    found: Done = []

    def go_on(work: Work, trials: int, journal: Journal, limits: Any, **_: Any) -> None:
        begun(journal.folder, work.described, work.conditions.metrics, limits)
        found.append((work, dict(limits)))

    monkeypatch.setattr(phases, "go_on", go_on)
    monkeypatch.setattr("raysearch.study.StudyResult", lambda folder: folder)
    return found


def begin(folder: Path, study: Study, *lrs: float, **changes: Any) -> Path:
    """A run of a study with finished trials of these learning rates, the first line with other fields."""
    work = study.work
    head = {"study": work.described, "metrics": work.conditions.metrics, "warm_start": work.warm_start}
    with contextlib.closing(Journal(folder)) as journal:
        journal.write("run", version=1, **{**head, **changes})
        for number, lr in enumerate(lrs):
            add(journal, f"{number:04d}", lr)
    return folder


def add(journal: Journal, name: str, lr: float) -> None:
    config = {"training": {"lr": lr}}
    journal.write("suggestion", trial=name, role="trial", config=config, key=name, origin="x")
    values = {"accuracy": 0.5 + lr, "size_mb": 1.0}
    journal.write("report", trial=name, step=10, values=values, decision="continue")
    journal.write("end", trial=name, outcome="finished")


def made(**changes: Any) -> Study:
    return Study(small_task(), **{"space": SPACE, "objectives": OBJECTIVES, **changes})


def test_the_same_study_goes_on_as_it_is(tmp_path: Path, done: Done) -> None:
    study = made()
    study.run(3, folder=begin(tmp_path / "run", study, 1e-3))
    (work, limits), *_ = done
    assert (work.described, limits) == (study.describe(), {})


def test_other_limits_go_on_by_them(tmp_path: Path, done: Done) -> None:
    folder = begin(tmp_path / "run", made(), 1e-3, 2e-3)
    made(constraints=["size_mb <= 3"], targets=["torch-cpu", TARGET], workers=3).run(3, folder=folder)
    (work, limits), *_ = done
    assert limits == {
        "objectives": OBJECTIVES,
        "constraints": ["size_mb <= 3"],
        "targets": [TARGET, "torch-cpu"],  # the run's own first
    }
    assert {name: work.described[name] for name in limits} == limits
    assert work.conditions.workers == 3
    assert work.conditions.task.source is None  # made in Python, and not from a description


REFUSED = {
    "a metric that trials lack": (
        {"constraints": ["macs <= 3"]},
        'constraint "macs <= 3" is on a metric that 0000 finished without: begin another run for it',
    ),
    "a target less": (
        {"targets": ["torch-cpu"]},
        f"targets leaves out {TARGET}, on which networks",
    ),
    "a direction": ({"objectives": ["minimize accuracy"]}, "more of accuracy was better so far, and now it"),
    "more than limits": (
        {"constraints": ["macs <= 1e6"], "epochs": 3},
        r"holds the run of another study \(constraints, search differ\): give another folder",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_limits_that_cannot_change_are_refused(name: str, tmp_path: Path, done: Done) -> None:
    changes, sentence = REFUSED[name]
    folder = begin(tmp_path / "run", made(), 1e-3)
    before = (folder / "journal.jsonl").read_bytes()
    with pytest.raises(ValueError, match=sentence):
        made(**changes).run(3, folder=folder)
    assert not done
    assert (folder / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("known", [True, False])
def test_what_a_warm_start_took_when_the_run_began_holds(tmp_path: Path, done: Done, known: bool) -> None:
    """Whether the first line names the folders or, as before, does not."""
    earlier = begin(tmp_path / "earlier", made(), 1e-3)
    first = [{"training": {"lr": 5e-3}}]
    study = made(warm_start=[earlier], evaluate_first=first)
    folder = begin(
        tmp_path / "run",
        study,
    )
    if not known:
        text = (folder / "journal.jsonl").read_text()
        (folder / "journal.jsonl").write_text(text.replace('"warm_start"', '"before"'))
    with contextlib.closing(Journal(earlier)) as journal:
        add(journal, "0001", 8e-3)
    again = made(warm_start=[earlier], evaluate_first=first)
    assert again.describe() != study.describe()
    again.run(3, folder=folder)
    (work, limits), *_ = done
    assert (work.described, limits) == (study.describe(), {})
    if known:
        with pytest.raises(ValueError, match=r"another study \(search differ\)"):
            made(warm_start=[earlier]).run(3, folder=folder)
        other = begin(tmp_path / "other", made(), 7e-3)
        with pytest.raises(ValueError, match=r"another study \(search differ\)"):
            made(warm_start=[other], evaluate_first=first).run(3, folder=folder)


def test_the_multiple_that_the_run_began_with_holds(
    tmp_path: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pruned(**options: Any) -> Study:
        return made(space={"pruning": spaces.channel_pruning(**options)})

    def like(multiple: int) -> None:
        monkeypatch.setattr("raysearch.runs.conditions.channel_multiple", lambda target: multiple)

    like(4)
    study = pruned()
    folder = begin(tmp_path / "run", study, 1e-3)
    like(2)
    assert pruned().describe()["space"]["pruning"]["multiple"] == 2
    pruned().run(3, folder=folder)
    (work, limits), *_ = done
    assert (work.described, limits) == (study.describe(), {})
    assert work.space.domains["pruning"]["multiple"] == 4
    with pytest.raises(ValueError, match=r"another study \(space differ\)"):
        pruned(multiple=2).run(3, folder=folder)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_run_of_a_task_made_in_python_is_ranked_anew(tmp_path: Path, cluster: None) -> None:
    study = {"targets": ["torch-cpu"], "epochs": 1, "workers": 1, "scheduler": "full_training"}
    folder = tmp_path / "run"
    before = made(**study).run(2, folder=folder, progress=False)
    after = made(**study, constraints=["accuracy >= 1.5"]).run(2, folder=folder, progress=False)
    assert before.complete
    assert after.complete
    assert list(after.trials["trial"]) == list(before.trials["trial"])  # none ran again
    assert any("constraints from [] to [accuracy >= 1.5]" in remark for remark in after.remarks)
    assert not [trial for trial in after.front_records if trial.role == "trial"]
