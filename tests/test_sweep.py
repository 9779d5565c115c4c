"""Sweeps: which points, what is refused, the table from a journal, and a small one to the end."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fake_run import write_run
from torch import nn
from trial_setup import small_task

from raysearch import Study
from raysearch import run as running
from raysearch import search_spaces as spaces
from raysearch.allocation import allocate, branches_of
from raysearch.allocation.problem import Problem
from raysearch.backends.protocol import Protocol
from raysearch.config import build_task
from raysearch.journal import RunRecord
from raysearch.schema import parse
from raysearch.study import resume
from raysearch.sweep import fitted, measure, plan_of, sweep, sweep_study, table_of, write_sweep
from raysearch.trainables.task import Task

TARGET = "onnxruntime-cpu"
RATIOS = (0.0, 0.25, 0.5, 0.75)


class Branches(nn.Module):
    """Two branches, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(64, 16), nn.Linear(64, 16)
        self.relu = nn.ReLU()
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(x, 1)
        return self.head(self.relu(torch.cat([self.left(x), self.right(x)], 1)))  # type: ignore[no-any-return]


def two_branches() -> Task:
    """Digits for a network of two branches, as a study file imports it."""
    return small_task(model=Branches(), parent={"training": {"lr": 3e-3, "batch_size": 64}})


@pytest.fixture(scope="module")
def study() -> Study:
    task = build_task({"import": "test_sweep:two_branches"})
    space = {"pruning": spaces.channel_pruning(multiple=4)}
    return Study(task, space, ["maximize accuracy", "minimize size_mb"], epochs=1, workers=1)


def events(parts: tuple[str, ...] = ("left", "right"), ratios: tuple[float, ...] = RATIOS) -> list[dict]:
    """The journal of a sweep whose left branch holds 6 of 10 MB, of which pruning takes its ratio."""
    own, slow = {"left": 6.0, "right": 3.0}, {"left": 2.0, "right": 2.0}
    choices = {"choice": sorted({0.0, *ratios})}
    described = {
        "task": {"name": "digits"},
        "space": {"pruning": {"ratios": dict.fromkeys(parts, choices)}},
        "objectives": ["maximize accuracy", "minimize size_mb"],
        "constraints": [],
        "targets": [TARGET],
        "search": {"epochs": 1},
        "sweep": {"parts": list(parts), "ratios": list(ratios), "multiple": None},
    }
    found: list[dict] = [{"event": "run", "version": 1, "study": described}]

    def trial(name: str, role: str, ratios: dict[str, float]) -> None:
        values = {
            "accuracy": 0.9 - 0.3 * sum(r**2 for r in ratios.values()),
            "size_mb": 10.0 - sum(own[n] * r for n, r in ratios.items()),
            f"latency_ms/{TARGET}": 5.0 - sum(slow[n] * r for n, r in ratios.items()),
        }
        config = {"pruning": {"ratios": ratios}} if ratios else {}
        head = {"trial": name, "role": role, "config": config, "key": name, "origin": "given"}
        found.append({"event": "suggestion", **head})
        found.append({"event": "report", "trial": name, "step": 2, "values": values, "decision": "continue"})
        found.append({"event": "end", "trial": name, "outcome": "finished"})

    trial("parent", "reference", {})
    trial("0000", "trial", {})
    for number, (part, ratio) in enumerate((p, r) for p in parts for r in ratios if r):
        trial(f"{number + 1:04d}", "trial", {part: ratio})
    found.append({"event": "suggestion", "trial": "0099", "role": "trial", "config": {}, "key": "x",
                  "origin": "given"})  # fmt: skip
    return [{**event, "time": float(i)} for i, event in enumerate(found)]


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return RunRecord.load(write_run(tmp_path, events()))


def test_points_are_one_part_at_a_time_and_once_each(study: Study) -> None:
    plan = sweep_study(study, ["left", "right"], [0.25, 0.26, 0.5], multiple=4)
    ratios = [config["pruning"]["ratios"] for config in plan.evaluate_first]
    assert ratios == [  # 0.25 and 0.26 keep the same 12 of 16 channels
        {"left": 0.0, "right": 0.0},
        {"left": 0.25, "right": 0.0},
        {"left": 0.5, "right": 0.0},
        {"left": 0.0, "right": 0.25},
        {"left": 0.0, "right": 0.5},
        {"left": 0.5, "right": 0.5},
    ]
    described = plan.describe()
    assert described["search"]["scheduler"] == "full_training"
    assert described["sweep"] == {"parts": ["left", "right"], "ratios": [0.25, 0.26, 0.5], "multiple": 4}
    assert parse(described).sweep.parts == ["left", "right"]  # a study file again
    assert "sweep" not in study.describe()


def test_left_out_every_part_that_can_be_pruned_is_swept(study: Study) -> None:
    plan = sweep_study(study, multiple=4)
    assert {part for c in plan.evaluate_first for part in c["pruning"]["ratios"]} == {"left", "right"}
    assert len(plan.evaluate_first) == 1 + 2 * 3 + 1  # of 16 channels in fours


def test_a_study_file_names_no_space_for_a_sweep() -> None:
    given = {
        "task": {"import": "test_sweep:two_branches"},
        "objectives": ["maximize accuracy"],
        "search": {"epochs": 2, "seed": 3, "workers": 1, "evaluate_first": [{"training": {"lr": 0.1}}]},
        "sweep": {"parts": ["left"], "ratios": list(RATIOS), "multiple": 4},
    }
    plan = plan_of(parse(given))
    assert [plan.epochs, plan.seed, plan.workers] == [2, 3, 1]
    assert [c["pruning"]["ratios"]["left"] for c in plan.evaluate_first] == [0.0, 0.25, 0.5, 0.75]
    spaced = {**given, "space": {"training": {"lr": {"loguniform": [0.1, 1e-3]}}}}  # a mistake in a search
    assert plan_of(parse(spaced)).describe() == plan.describe()


@pytest.mark.parametrize(
    ("parts", "ratios", "message"),
    [
        (["lefft"], RATIOS, "names 'lefft', which the model does not have; did you mean 'left'"),
        (["relu"], RATIOS, "names 'relu', a ReLU without weights"),
        (["head"], RATIOS, "names 'head', which has no channels of its own that can go"),
        ([], RATIOS, "give a list with at least one layer's name"),
        (["left"], [0.5, 1.0], "give one or more numbers in"),
        (["left"], [], "give one or more numbers in"),
    ],
)
def test_what_cannot_be_swept_is_refused(study: Study, parts: Any, ratios: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep_study(study, parts, ratios)


def test_the_table_has_a_row_a_point(record: RunRecord) -> None:
    table = table_of(record)
    assert list(table["branch"]) == ["left"] * 4 + ["right"] * 4
    assert list(table["ratio"]) == [*RATIOS, *RATIOS]
    assert list(table["network_mb"][:4]) == [10.0, 8.5, 7.0, 5.5]
    assert "0099" not in set(table["trial"])  # it has not ended


def test_contributions_sum_to_the_network(record: RunRecord) -> None:
    table = table_of(record)
    for own, network in (("size_mb", "network_mb"), ("latency_ms", "network_ms")):
        unpruned = table[table["ratio"] == 0]
        assert unpruned[own].sum() == pytest.approx(unpruned[network].iloc[0])
        for _, rows in table.groupby("branch"):
            np.testing.assert_allclose(np.diff(rows[own]), np.diff(rows[network]))
    assert table["size_mb"][0] == pytest.approx(10 * 6 / 9)  # as the savings are: 6 to 3


def test_contributions_sum_to_the_network_with_all_parts_pruned(tmp_path: Path) -> None:
    found = events()
    together = [dict(e, trial="0050") for e in found if e.get("trial") == "0006"]
    together[0]["config"] = {"pruning": {"ratios": {"left": 0.75, "right": 0.75}}}
    together[1]["values"] = {"accuracy": 0.5, "size_mb": 4.0, f"latency_ms/{TARGET}": 2.0}
    table = table_of(RunRecord.load(write_run(tmp_path, [*found, *together])))
    assert len(table) == 8  # the joint point is no branch's
    for ratio, size, latency in ((0.0, 10.0, 5.0), (0.75, 4.0, 2.0)):
        rows = table[table["ratio"] == ratio]
        assert rows["size_mb"].sum() == pytest.approx(size)
        assert rows["latency_ms"].sum() == pytest.approx(latency)
    assert (table["size_mb"] > 0).all()


def test_a_branch_that_saves_nothing_is_no_division_by_zero(tmp_path: Path) -> None:
    found = events(ratios=(0.0,))
    table = table_of(RunRecord.load(write_run(tmp_path, found)))
    assert list(table["size_mb"]) == [5.0, 5.0]


def test_a_budget_is_divided_over_the_table(record: RunRecord) -> None:
    problem = Problem(branches_of(table_of(record)), total_cap=7.0)
    found = allocate(problem)
    assert found.front["size_mb"].iloc[0] == pytest.approx(7.0, abs=1e-6)


def test_curves_and_page_are_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path, events())
    table = write_sweep(folder)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "sweep.csv", dtype={"trial": str}), table)
    document = json.loads((folder / "sweep.json").read_text())
    curve = document["branches"]["left"]["size_mb"]
    assert curve["formula"] == "6.667 - 6 p"
    assert np.all(np.array(curve["low"]) <= curve["values"])
    assert not document["notes"]
    page = (folder / "sweep.html").read_text()
    assert "<td>6.667 - 6 p</td><td>0</td>" in page  # an error of rounding is none
    assert "<h2>Size, MB</h2>" in page
    assert "http://" not in page.split("</script>")[-1]


LEFT_OUT = {
    "event": "left_out", "trial": "parent", "time": 50.0,
    "accuracy": 0.9, "without": {"left": 0.6, "right": 0.8},
}  # fmt: skip


def test_what_a_branch_is_worth_is_in_the_table_the_curves_and_the_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [*events(), LEFT_OUT])
    table = write_sweep(folder)
    assert table.groupby("branch")["left_out"].unique().explode().tolist() == pytest.approx([0.3, 0.1])
    found = json.loads((folder / "sweep.json").read_text())["left_out"]
    assert found == {"accuracy": 0.9, "without": {"left": 0.6, "right": 0.8}}
    page = (folder / "sweep.html").read_text()
    assert "<td>left</td><td>60.00 %</td><td>30.00 %</td><td>0.75</td>" in page


def test_why_nothing_could_be_left_out_is_a_note(tmp_path: Path) -> None:
    why = {"event": "left_out", "trial": "parent", "time": 50.0, "reason": "it is never called"}
    folder = write_run(tmp_path, [*events(), why])
    assert "left_out" not in write_sweep(folder)
    assert json.loads((folder / "sweep.json").read_text())["notes"] == ["it is never called"]
    assert "<p>it is never called</p>" in (folder / "sweep.html").read_text()


def test_too_few_ratios_give_a_note_and_no_curve(tmp_path: Path) -> None:
    table = table_of(RunRecord.load(write_run(tmp_path, events(ratios=(0.0, 0.5)))))
    curves, notes = fitted(table)
    assert not curves
    assert notes == [f"{n} has 2 different ratios, and a curve needs 4" for n in ("left", "right")]


def test_a_division_is_one_trial_with_all_parts_pruned(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def run(plan: Study, num_trials: int, *, folder: Path, progress: bool) -> Any:
        asked.append((num_trials, plan.evaluate_first[0]["pruning"]["ratios"]))
        return SimpleNamespace(record=RunRecord.load(write_run(folder, found)))

    monkeypatch.setattr(Study, "run", run)
    found = [e for e in events() if e.get("trial") not in ("0000", "0002", "0003", "0004", "0005", "0006")]
    figures = measure(study, {"left": 0.25, "right": 0.5}, multiple=4, folder=tmp_path / "done")
    assert asked == [(1, {"left": 0.25, "right": 0.5})]
    assert figures == pytest.approx({"accuracy": 0.88125, "size_mb": 8.5, "latency_ms": 4.5})
    found = [e for e in found if e.get("trial") != "0001"]
    with pytest.raises(RuntimeError, match="it was interrupted: call again with this folder"):
        measure(study, {"left": 0.25, "right": 0.5}, folder=tmp_path / "cut")
    with pytest.raises(ValueError, match="did you mean 'left'"):
        measure(study, {"lef": 0.25})


def test_a_sweep_that_has_just_begun_has_an_empty_table(tmp_path: Path) -> None:
    folder = write_run(tmp_path, events()[:1])
    table = write_sweep(folder)
    assert table.empty
    assert "network_mb" in table
    assert (folder / "sweep.html").exists()


@pytest.mark.cluster
def test_a_sweep_that_was_cut_short_goes_on(
    study: Study, cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0)
    monkeypatch.setattr(running, "start_service", partial(running.start_service, protocol=quick))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments: dict[str, Any] = {
        "parts": ["left", "right"],
        "ratios": [0.5],
        "multiple": 4,
        "progress": False,
    }
    table = sweep(study, folder=whole, **arguments)
    assert list(table["branch"]) == ["left", "left", "right", "right"]
    assert table["accuracy"].between(0, 1).all()
    assert table["network_mb"].nunique() == 2  # unpruned; either branch halved
    shutil.copytree(whole, cut)
    lines = (cut / "journal.jsonl").read_text().splitlines(keepends=True)
    last = next(i for i, line in enumerate(lines) if '"suggestion"' in line and '"0002"' in line)
    (cut / "journal.jsonl").write_text("".join(lines[: last + 1]))
    for name in ("sweep.csv", "sweep.json", "sweep.html"):
        (cut / name).unlink()
    resume(cut, progress=False)
    gone_on = (cut / "journal.jsonl").read_text()
    assert gone_on.startswith("".join(lines[: last + 1]))
    same = ["branch", "ratio", "accuracy", "network_mb", "trial", "left_out"]
    again = pd.read_csv(cut / "sweep.csv", dtype={"trial": str})
    pd.testing.assert_frame_equal(again[same], table[same])
    assert (cut / "sweep.html").exists()
    assert gone_on.count('"left_out"') == 1
    assert table["left_out"].between(-1, 1).all()
    pd.testing.assert_frame_equal(sweep(study, folder=cut, **arguments)[same], table[same])
    assert (cut / "journal.jsonl").read_text() == gone_on  # there is nothing left to do
