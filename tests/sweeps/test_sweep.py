"""Sweeps: which points, what is refused, the table from a journal, and a small one to the end."""

from __future__ import annotations

import ast
import builtins
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from fake_run import write_run
from sweep_events import RATIOS, events

from raysearch import Study
from raysearch import resume as resuming
from raysearch import search_spaces as spaces
from raysearch.backends.measurement.protocol import Protocol
from raysearch.basics.failures import UserError
from raysearch.record.run_record import RunRecord
from raysearch.record.writing import is_run
from raysearch.resume import resume
from raysearch.runs import phases as running
from raysearch.runs.session import Work
from raysearch.runs.session import begun as begun_in
from raysearch.study_file.build import build_task, load
from raysearch.study_file.schema import parse
from raysearch.sweeps import sweep as sweeping
from raysearch.sweeps.plan import plan_sweep
from raysearch.sweeps.sweep import measure, plan_of, sweep


@pytest.fixture(scope="module")
def study() -> Study:
    task = build_task({"import": "branch_networks:two_branches"})
    space = {"pruning": spaces.channel_pruning(multiple=4)}
    return Study(task, space, ["maximize accuracy", "minimize size_mb"], epochs=1, workers=1)


def test_left_out_every_part_that_can_be_pruned_is_swept(study: Study) -> None:
    plan = plan_sweep(study.conditions, multiple=4)
    assert {part for c in plan.points.configs for part in c["pruning"]["ratios"]} == {"left", "right"}
    assert len(plan.points.configs) == 1 + 2 * 3 + 3  # of 16 channels in fours


def test_a_study_file_names_no_space_and_no_objectives_for_a_sweep() -> None:
    given = {
        "task": {"import": "branch_networks:two_branches"},
        "search": {"epochs": 2, "seed": 3, "workers": 1, "evaluate_first": [{"training": {"lr": 0.1}}]},
        "sweep": {"parts": ["left"], "ratios": list(RATIOS), "multiple": 4},
    }
    plan = plan_of(parse(given))
    assert [plan.conditions.epochs, plan.conditions.seed, plan.conditions.workers] == [2, 3, 1]
    assert [c["pruning"]["ratios"]["left"] for c in plan.points.configs] == [0.0, 0.25, 0.5, 0.75]
    spaced = {  # mistakes in a search
        **given,
        "space": {"training": {"lr": {"loguniform": [0.1, 1e-3]}}},
        "objectives": ["minimize size_mb"],
    }
    assert plan_of(parse(spaced)).work.described == plan.work.described
    assert plan_of(parse(plan.work.described)).work.described == plan.work.described  # and resumes


def test_the_guide_defines_each_name_from_a_study_file_on() -> None:
    root = Path(__file__).parents[2]
    blocks = (root / "docs" / "allocation.md").read_text().split("```python\n")[1:]
    code = next(text.split("```")[0] for text in blocks if "plan_of(" in text)
    nodes = list(ast.walk(ast.parse(code)))
    known = {alias.name for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for alias in n.names}
    known |= {alias.asname for n in nodes if isinstance(n, ast.Import) for alias in n.names if alias.asname}
    names = [n for n in nodes if isinstance(n, ast.Name)]
    known |= {n.id for n in names if isinstance(n.ctx, ast.Store)} | set(dir(builtins))
    assert not {n.id for n in names} - known
    plan = plan_of(root / "examples" / "sweep_digits.yaml")
    assert plan.parts == ["stage1", "stage2", "stage3"]
    again = plan_of(load(root / "examples" / "sweep_digits.yaml"))
    assert plan.work.described == again.work.described


def test_a_sweep_is_described_as_0_1_0_did_so_that_its_folder_is_gone_on_with() -> None:
    described = json.loads((Path(__file__).parents[1] / "golden" / "sweep_of_0_1_0.json").read_text())
    assert plan_of(parse(described)).work.described == described


@pytest.mark.slow
def test_a_sweep_goes_on_with_the_multiple_that_it_began_with(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[dict[str, Any]] = []

    def go_on(work: Work, trials: int, folder: Any, **_: Any) -> Any:
        place = getattr(folder, "folder", folder)
        if is_run(place):
            begun_in(place, work.described, {"accuracy": "share"}, {})
        begun.append(dict(work.described))
        return SimpleNamespace(record=None)

    def like(multiple: int) -> None:
        monkeypatch.setattr("raysearch.runs.conditions.channel_multiple", lambda target: multiple)

    monkeypatch.setattr(sweeping, "carry_out", go_on)
    monkeypatch.setattr(resuming, "go_on", go_on)
    monkeypatch.setattr(sweeping, "table_of", lambda record: record)
    monkeypatch.setattr(resuming, "StudyResult", lambda folder: folder)
    file = {
        "task": {"import": "branch_networks:two_branches"},
        "search": {"epochs": 1, "workers": 1},
        "sweep": {"ratios": [0.25, 0.5, 0.75]},
    }
    like(4)
    sweeping.run_sweep(plan_of(parse(file)), tmp_path / "new")
    described = begun.pop()
    assert described["sweep"]["multiple"] == described["space"]["pruning"]["multiple"] == 4
    unsaid = {**described, "sweep": {**described["sweep"], "multiple": None}}  # as it was written before
    like(2)
    for held in (described, unsaid):
        head = {"event": "run", "time": 1.0, "version": 1, "study": held, "metrics": {"accuracy": "share"}}
        session = {"event": "session", "time": 2.0, "action": "start", "num_trials": 9}
        folder = write_run(tmp_path / str(held["sweep"]["multiple"]), [head, session])
        resume(folder, progress=False)
        sweeping.run_sweep(plan_of(parse(file)), folder)
        sweep(study, ratios=[0.25, 0.5, 0.75], folder=folder)
        assert begun == [described] * 3
        begun.clear()
        other = {**file, "sweep": {**file["sweep"], "multiple": 2}}
        with pytest.raises(UserError, match=r"another study \(space"):
            sweeping.run_sweep(plan_of(parse(other)), folder)


def test_a_division_is_one_trial_with_all_parts_pruned(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def carry_out(work: Work, num_trials: int, folder: Path, **_: Any) -> Any:
        (config,) = work.described["search"]["evaluate_first"]
        asked.append((num_trials, config["pruning"]["ratios"], "sweep" in work.described))
        return SimpleNamespace(record=RunRecord.load(write_run(folder, found)))

    monkeypatch.setattr(sweeping, "carry_out", carry_out)
    found = [e for e in events() if e.get("trial") in (None, "parent", "0001")]
    figures = measure(study, {"left": 0.25, "right": 0.5}, multiple=4, folder=tmp_path / "done")
    assert asked == [(1, {"left": 0.25, "right": 0.5}, False)]
    assert figures == pytest.approx({"accuracy": 0.88125, "size_mb": 8.5, "latency_ms": 4.5})
    found = [e for e in found if e.get("trial") != "0001"]
    with pytest.raises(RuntimeError, match="it was interrupted: call again with this folder"):
        measure(study, {"left": 0.25, "right": 0.5}, folder=tmp_path / "cut")
    with pytest.raises(ValueError, match="did you mean 'left'"):
        measure(study, {"lef": 0.25})


@pytest.mark.slow
@pytest.mark.cluster
def test_a_sweep_that_was_cut_short_goes_on(
    study: Study, cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0)
    monkeypatch.setattr(running, "start_service", partial(running.start_service, protocol=quick))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments: dict[str, Any] = {
        "parts": ["left", "right"],
        "ratios": [0.25, 0.5, 0.75],
        "multiple": 4,
        "progress": False,
    }
    table = sweep(study, folder=whole, **arguments)
    assert list(table["branch"]) == ["left"] * 4 + ["right"] * 4
    assert table["accuracy"].between(0, 1).all()
    assert table["network_mb"].nunique() == 4  # unpruned; either branch less a quarter, a half, more
    shutil.copytree(whole, cut)
    lines = (cut / "journal.jsonl").read_text().splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if '"suggestion"' in line and '"0002"' in line)
    (cut / "journal.jsonl").write_text("".join(lines[: last + 1]))
    for name in ("sweep.csv", "sweep_together.csv", "sweep.json", "sweep.html"):
        (cut / name).unlink()
    resume(cut, progress=False)
    gone_on = (cut / "journal.jsonl").read_text()
    assert gone_on.startswith("".join(lines[: last + 1]))
    same = ["branch", "ratio", "accuracy", "network_mb", "trial", "left_out"]
    again = pd.read_csv(cut / "sweep.csv", dtype={"trial": str})
    pd.testing.assert_frame_equal(again[same], table[same])
    together = [pd.read_csv(path / "sweep_together.csv").drop(columns="network_ms") for path in (whole, cut)]
    pd.testing.assert_frame_equal(*together)
    assert list(together[0]["ratio"]) == [0.0, 0.25, 0.5, 0.75]
    assert (cut / "sweep.html").exists()
    assert gone_on.count('"left_out"') == 1
    assert table["left_out"].between(-1, 1).all()
    pd.testing.assert_frame_equal(sweep(study, folder=cut, **arguments)[same], table[same])
    assert (cut / "journal.jsonl").read_text() == gone_on  # there is nothing left to do
