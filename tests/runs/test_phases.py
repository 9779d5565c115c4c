"""The phases of a run, one by one, without a cluster."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray

from raysearch.basics.disk import StorageError
from raysearch.basics.failures import RunError, UserError
from raysearch.record.journal import Journal, RunRecord
from raysearch.runs import phases as running
from raysearch.runs.phases import Run
from raysearch.search_spaces import bind
from raysearch.study import resume


def make_run(folder, target: str) -> Run:
    study = SimpleNamespace(targets=(target,), parent={}, space=bind({}), metrics={})
    table = SimpleNamespace(event=lambda event: None)
    run = Run(study, folder, 1, Journal(folder), RunRecord(), table, float("inf"))
    run.setup = SimpleNamespace(trial_folder=lambda name: folder / "trials" / name)
    return run


def test_a_runtime_without_a_static_quantisation_has_no_such_rival(tmp_path):
    run = make_run(tmp_path, "torch-cpu")
    running._static_int8(run)
    assert not run.record.trials


@pytest.mark.parametrize(
    "error", [ray.exceptions.WorkerCrashedError(), ray.exceptions.OutOfMemoryError("out of memory")]
)
def test_a_rival_whose_worker_dies_fails_and_the_run_goes_on(tmp_path, monkeypatch, error):
    def die(run, function):
        raise error

    monkeypatch.setattr(running, "_remotely", die)
    run = make_run(tmp_path, "onnxruntime-cpu")
    running._static_int8(run)
    assert run.record.trials["parent-int8"].outcome == "failed"
    assert run.record.trials["parent-int8"].reason


def test_why_no_part_could_be_left_out_is_written_once_and_the_run_goes_on(tmp_path, monkeypatch):
    asked = []

    def refuse(run, function, parts):
        asked.append((function, parts))
        raise ray.exceptions.RayTaskError("left_out", "trace", ValueError("the part 'a' cannot be left out"))

    monkeypatch.setattr(running, "_remotely", refuse)
    run = make_run(tmp_path, "onnxruntime-cpu")
    head = {"role": "reference", "config": {}, "key": "k", "origin": "reference"}
    run.write("suggestion", trial="parent", **head)
    run.study.sweep = None
    running._left_out(run)
    assert not asked
    run.study.sweep = {"parts": ["a"]}
    for _ in range(2):
        running._left_out(run)
    assert asked == [("left_out", ["a"])]
    found = RunRecord.load(tmp_path).parent.left_out
    assert found == {"reason": "no importances by leaving parts out: the part 'a' cannot be left out"}


def test_a_run_killed_before_its_first_session_is_begun_anew_not_resumed(tmp_path):
    Journal(tmp_path).write("run", version=1, study={})
    with pytest.raises(ValueError, match="nothing was started"):
        resume(tmp_path)


def test_a_full_disk_ends_a_run_in_one_sentence_that_says_how_to_go_on(tmp_path, monkeypatch):
    def fill(run):
        raise StorageError(f"{tmp_path}/trials/0003 cannot be written: No space left on device")

    monkeypatch.setattr(running, "_phases", fill)
    monkeypatch.setattr(running, "_conclude", lambda folder: None)
    run = make_run(tmp_path, "onnxruntime-cpu")
    sentence = f"No space left on device; when that is mended, go on with: raysearch resume {tmp_path}"
    with pytest.raises(RunError, match=f"{sentence}$"):
        running._work(run, {}, None)
    assert [s["action"] for s in RunRecord.load(tmp_path).sessions] == ["start", "storage"]


def test_a_bug_is_no_full_disk(tmp_path, monkeypatch):
    def fail(run):
        raise ValueError("a bug")

    monkeypatch.setattr(running, "_phases", fail)
    monkeypatch.setattr(running, "_conclude", lambda folder: None)
    with pytest.raises(ValueError, match="^a bug$"):
        running._work(make_run(tmp_path, "onnxruntime-cpu"), {}, None)
    assert RunRecord.load(tmp_path).sessions[-1]["action"] == "error"


def test_a_rival_that_fails_leaves_its_traceback(tmp_path, monkeypatch):
    def fail(run, function):
        raise ray.exceptions.RayTaskError("f", "the worker's traceback", ValueError("no"))

    monkeypatch.setattr(running, "_remotely", fail)
    run = make_run(tmp_path, "onnxruntime-cpu")
    running._static_int8(run)
    trial = RunRecord.load(tmp_path).trials["parent-int8"]
    assert (tmp_path / trial.traceback).read_text() == "the worker's traceback\n"


def test_the_journal_is_locked_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_read", lambda folder, described: pytest.fail("it was read"))
    journal = Journal(tmp_path)
    study = SimpleNamespace(describe=dict)
    with pytest.raises(UserError, match="another process"):
        running.run_study(study, 1, tmp_path, max_minutes=None, progress=False)
    journal.close()
