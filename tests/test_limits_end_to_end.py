"""Limits that change in a run on the digits, by the command: nothing trains twice, all is ranked anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from raysearch import StudyResult, tasks
from raysearch.backends import get
from raysearch.record import journal
from raysearch.trainables.evaluation import evaluate, outputs_of
from raysearch.trainables.export.feeds import function_of
from raysearch.trainables.variant import load_variant

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

STUDY = """
task: digits
parent:
  epochs: 2
  architecture:
    family: resnet
    stages: 1
    stem: {width: 8}
    stage1: {depth: 1, width: 16, kernel: 3, block: basic}
space:
  architecture: {resnet: {stages: 1, depth: [1, 2], width: [8, 16]}}
  bits: {bit_widths: {weights: [8, 32], activations: [8, 32]}}
objectives: [maximize accuracy, minimize size_mb]
search:
  {num_trials: 6, epochs: 1, workers: 1, searcher: {name: nsga2, population: 4}, scheduler: full_training}
"""
FIRST, LATE = "onnxruntime-cpu", "torch-cpu"


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raysearch.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def kinds(folder: Path, after: int = 0) -> Counter[str]:
    return Counter(event["event"] for event in list(journal.read(folder))[after:])


def kill_after(process: subprocess.Popen[str], folder: Path, event: str) -> None:
    """End a driver as soon as it has written such an event."""
    while not kinds(folder)[event]:
        if process.poll() is not None:
            pytest.fail(f"it ended before: {process.communicate()[0]}")
        time.sleep(0.02)
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("study") / "digits.yaml"
    study.write_text(STUDY)
    folder = tmp_path_factory.mktemp("runs") / "run"
    finish(start("run", str(study), "--out", str(folder)))
    return folder


@pytest.mark.slow
def test_a_finished_run_is_ranked_anew_and_ends(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before, count = StudyResult(folder), sum(kinds(folder).values())
    measured = {t.name for t in before.record.trials.values() if t.final}
    smallest = before.trials[before.trials["role"] == "trial"]["size_mb"].min()
    other = ["--set", f"constraints=[size_mb >= {smallest * 1.01}]"]  # what was on the front is not any more
    output = finish(start("resume", str(folder), *other))
    assert set(kinds(folder, count)) <= {"session", "limits", "final"}  # nothing trained
    after = StudyResult(folder)
    front = [t for t in after.front_records if t.role == "trial"]
    assert front
    assert {t.name for t in front} != {t.name for t in before.front_records}
    assert all(t.values["size_mb"] > smallest and "test_accuracy" in t.values for t in front)
    final = {e["trial"] for e in list(journal.read(folder))[count:] if e["event"] == "final"}
    assert final.isdisjoint(measured)  # each once
    assert {t.name for t in front} <= final | measured
    assert "After 6 trials the limits were changed: constraints from [] to [size_mb >=" in output
    assert "constraints: [size_mb >=" in (folder / "study.yaml").read_text()

    lines = sum(kinds(folder).values())
    assert "complete already" in finish(start("resume", str(folder)))
    finish(start("report", str(folder)))
    assert sum(kinds(folder).values()) == lines
    assert StudyResult(folder).front.equals(after.front)


@pytest.mark.slow
def test_a_target_that_comes_has_each_trial_measured_once(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    count = sum(kinds(folder).values())
    before = StudyResult(folder).record
    there = [t.name for t in before.trials.values() if t.outcome == "finished" and t.name != "parent-int8"]
    gone = next(t.name for t in before.searched() if not t.final)
    shutil.rmtree(folder / "variants" / gone)
    changes = [
        f"targets=[{FIRST}, {LATE}]",
        f"objectives=[maximize accuracy, minimize latency_ms/{LATE}]",
        f"constraints=[latency_ms/{LATE} <= 100 parent]",
    ]
    process = start("resume", str(folder), *(word for change in changes for word in ("--set", change)))
    kill_after(process, folder, "measured")  # amid the measuring
    output = finish(start("resume", str(folder)))
    assert f"{gone}: not measured on {LATE}: its files are gone or damaged." in output
    found = list(journal.read(folder))[count:]
    assert {event["event"] for event in found} <= {"session", "limits", "measured", "final"}
    assert [e["trial"] for e in found if e["event"] == "measured"] == there
    result = StudyResult(folder)
    front = [t for t in result.front_records if t.role == "trial"]
    assert front
    assert gone not in {t.name for t in front}
    task, backend = tasks.digits(), get(LATE)
    for trial in front:
        place = folder / "variants" / trial.name
        like = outputs_of(load_variant(place), task.example_input())
        predict = function_of(backend.load(place / "model.pt2"), like)
        accuracy = evaluate(predict, task.validation, task.metrics, task.collate)["accuracy"]
        assert trial.values[f"accuracy/{LATE}"] == pytest.approx(accuracy, abs=5e-4)
        assert trial.values["accuracy"] == min(trial.values[f"accuracy/{t}"] for t in (FIRST, LATE))
        assert f"test_accuracy/{LATE}" in trial.final
        assert trial.values[f"latency_ms/{LATE}"] > 0


def cut_at(folder: Path, trial: str, step: int) -> None:
    """Let a run have been killed as a trial had reported a step; its checkpoint is lost."""
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    events = list(journal.read(folder))
    last = next(i for i, e in enumerate(events) if e.get("trial") == trial and e.get("step") == step)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[: last + 1]))
    for name in {e["trial"] for e in events[last:] if e["event"] == "end"}:
        shutil.rmtree(folder / "variants" / name)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_under_other_limits(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    cut_at(folder, "0004", 0)
    limits = [
        f"targets=[{FIRST}, {LATE}]",
        f"objectives=[maximize accuracy, minimize macs, minimize latency_ms/{LATE}]",
    ]
    process = start("resume", str(folder), *(word for limit in limits for word in ("--set", limit)))
    kill_after(process, folder, "limits")  # directly
    assert kinds(folder)["limits"] == 1
    finish(start("resume", str(folder)))
    measured = [e["trial"] for e in journal.read(folder) if e["event"] == "measured"]
    assert measured == ["parent", "parent-longer", "0000", "0001", "0002", "0003", "0004"]
    result = StudyResult(folder)
    assert result.complete
    assert result.goals.metrics == ("accuracy", "macs", f"latency_ms/{LATE}")
    assert len(result.record.searched()) == 6
    assert len({t.key for t in result.record.searched()}) == 6
    for trial in result.record.trials.values():
        if trial.outcome == "finished" and trial.name != "parent-int8":
            assert {
                f"latency_ms/{LATE}",
                f"accuracy/{LATE}",
                f"accuracy/{FIRST}",
            } <= trial.searched_values.keys()
    assert kinds(folder)["limits"] == 1
    assert "After" in result.remarks[0]
    assert all(f"test_accuracy/{LATE}" in t.final for t in result.front_records)
