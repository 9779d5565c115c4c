from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_run import make_events, write_run
from typer.testing import CliRunner

import raysearch.study
from raysearch.cli.main import app
from raysearch.results import StudyResult

STUDY = """
task: digits
space: {training: {lr: {loguniform: [1e-4, 1e-2]}}}
objectives: [maximize accuracy, minimize size_mb]
search: {num_trials: 3, max_minutes: 2}
"""


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def test_watching_and_one_object_exclude_each_other(folder: Path) -> None:
    done = invoke("report", folder, "--watch", "--json")
    assert done.exit_code == 2
    assert "--watch shows a table, --json gives one object: give one of the two" in done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", make_events())


@pytest.fixture
def fake_study(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[dict[str, Any]]:
    """Studies that do no work; the calls of ``run``."""
    calls: list[dict[str, Any]] = []

    def run(num_trials: int, **keywords: Any) -> StudyResult:
        calls.append({"num_trials": num_trials, **keywords})
        return StudyResult(folder)

    task = SimpleNamespace(searches_architecture=True)
    monkeypatch.setattr(raysearch.study, "study_of", lambda file: SimpleNamespace(run=run, task=task))
    return calls


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "raysearch.cli", "--help"], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("run", "resume", "report", "check", "targets"))
    assert seconds < 2.0  # 0.3 s alone; the bound leaves room for a busy machine
    heavy = ("torch", "ray", "pandas", "plotly")
    code = f"import sys, raysearch.cli.main; print([m for m in {heavy} if m in sys.modules])"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == "[]"


def test_run_hands_the_file_to_the_study(
    study: Path, fake_study: list[dict[str, Any]], tmp_path: Path
) -> None:
    done = invoke("run", study, "--set", "search.num_trials=7", "--out", tmp_path / "out", "--quiet")
    assert done.exit_code == 0, done.output
    assert fake_study == [{"num_trials": 7, "folder": tmp_path / "out", "max_minutes": 2, "progress": False}]
    assert "report.html" in done.output


def test_json_is_the_only_output(study: Path, fake_study: list[dict[str, Any]]) -> None:
    done = invoke("run", study, "--json")
    document = json.loads(done.stdout)
    assert document["complete"]
    assert document["trials"]["failed"] == 3
    assert len(document["front"]) > 2
    assert fake_study[0]["progress"] is False


def test_an_interrupted_run_says_how_to_go_on(
    study: Path, fake_study: list[dict[str, Any]], folder: Path
) -> None:
    events = make_events(8, finish=False)
    write_run(folder, [*events, {"event": "session", "time": events[-1]["time"], "action": "interrupt"}])
    done = invoke("run", study, "--quiet")
    assert done.exit_code == 130
    assert f"raysearch resume {folder}" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "search.num_trial=3"], "did you mean 'num_trials'"),
        (["--set", "task=digit"], "did you mean 'digits'"),
        (["--set", "targets=[onnxruntime]"], "onnxruntime-cpu"),
        (["--set", "space.training.lr={loguniform: [1, 0.1]}"], "low must be less than high"),
        (["--set", "constraints=[energy_mj/onnxruntime-cpu <= 1]"], "energy meter"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_input_is_one_sentence_and_exit_code_2(
    study: Path, command: str, arguments: list[str], message: str
) -> None:
    done = invoke(command, study, *arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output
    as_json = invoke(command, study, *arguments, "--json")
    assert as_json.exit_code == 2
    assert message in json.loads(as_json.stdout)["error"]


@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_folder_without_a_run(command: str, tmp_path: Path) -> None:
    done = invoke(command, tmp_path)
    assert done.exit_code == 2
    assert "is not a run folder" in done.output


def test_what_resume_may_not_change_is_one_sentence(folder: Path) -> None:
    done = invoke("resume", folder, "--set", "search.epochs=3")
    assert done.exit_code == 2
    assert "search.epochs cannot be changed in a run that has begun" in done.output


def test_a_run_that_is_ended_at_once_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("raysearch.resume.go_on", interrupt)
    budget = {"workers": None, "num_trials": 1, "max_minutes": None}
    monkeypatch.setattr("raysearch.resume._budget", lambda record: budget)
    monkeypatch.setattr("raysearch.resume.parse", lambda described: None)
    work = SimpleNamespace(conditions=None)
    monkeypatch.setattr("raysearch.resume.study_of", lambda file: SimpleNamespace(work=work))
    monkeypatch.setattr("raysearch.resume.replace", lambda given, **changes: given)
    done = invoke("resume", folder)
    assert done.exit_code == 130
    assert "ended at once, without a report; raysearch resume goes on" in done.output


def test_a_missing_study_file() -> None:
    done = invoke("run", "nowhere.yaml")
    assert done.exit_code == 2
    assert "nowhere.yaml does not exist" in done.output


def test_a_bug_ends_with_exit_code_1_and_its_traceback(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(file: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(raysearch.study, "study_of", build)
    done = invoke("run", study)
    assert done.exit_code == 1
    assert isinstance(done.exception, ValueError)
    as_json = invoke("run", study, "--json")
    assert as_json.exit_code == 1
    assert "in build" in json.loads(as_json.stdout)["traceback"]


def test_report_writes_its_files_and_prints_the_front(folder: Path) -> None:
    done = invoke("report", folder)
    assert done.exit_code == 0, done.output
    assert all((folder / name).exists() for name in ("report.html", "trials.csv", "front.csv", "study.yaml"))
    for name in StudyResult(folder).front["trial"]:
        assert name in done.output


def test_where_the_tracebacks_of_the_failed_are_is_said(tmp_path: Path) -> None:
    events = make_events()
    failed = next(e for e in events if e.get("outcome") == "failed")
    failed["traceback"] = f"failures/{failed['trial']}.txt"
    folder = write_run(tmp_path / "run", events)
    assert f"Tracebacks of the failed: {folder / 'failures'}" in invoke("report", folder).output
    (first, *_) = json.loads(invoke("report", folder, "--json").stdout)["failed"]
    assert first == {
        "trial": failed["trial"],
        "reason": failed["reason"],
        "traceback": failed["traceback"],
    }


def test_an_empty_front_is_a_sentence(tmp_path: Path) -> None:
    done = invoke("report", write_run(tmp_path / "run", make_events(0)[:2]))
    assert done.exit_code == 0, done.output
    assert done.output.startswith("No trial is complete yet.")


def test_check_says_what_is_searched(study: Path) -> None:
    done = invoke("check", study, "--json")
    document = json.loads(done.stdout)
    assert document["searched"] == ["training/lr"]
    assert document["examples"]["train"] > document["examples"]["test"] > 0
    assert "is valid" in invoke("check", study).output
