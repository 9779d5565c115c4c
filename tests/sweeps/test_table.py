"""A sweep's tables, curves and page, from a journal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import LIKELIHOOD, RMSE, Quality, write_run
from sweep_events import LEFT_OUT, RATIOS, events

from raysearch.allocation import allocate, branches_of
from raysearch.allocation.problem import Problem
from raysearch.record.run_record import RunRecord
from raysearch.sweeps.table import fitted, table_of, together_of, write_sweep


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return RunRecord.load(write_run(tmp_path, events()))


def test_the_table_has_a_row_a_point(record: RunRecord) -> None:
    table = table_of(record)
    assert list(table["branch"]) == ["left"] * 4 + ["right"] * 4
    assert list(table["ratio"]) == [*RATIOS, *RATIOS]
    assert list(table["network_mb"][:4]) == [10.0, 8.5, 7.0, 5.5]
    assert "0099" not in set(table["trial"])  # it has not ended


def test_contributions_sum_to_the_network_wherever_all_are_pruned_alike(record: RunRecord) -> None:
    table = table_of(record)
    for ratio in RATIOS:
        rows = table[table["ratio"] == ratio]
        assert rows["size_mb"].sum() == pytest.approx(10 - 9 * ratio + 2 * ratio**2)
        assert rows["latency_ms"].sum() == pytest.approx(5 - 4 * ratio + ratio**2)
    assert table["size_mb"][0] == pytest.approx(10 * 6 / 9)  # as the savings are: 6 to 3
    for _, rows in table.groupby("branch"):
        assert (np.diff(rows["size_mb"]) < 0).all()


def test_between_points_that_are_missing_contributions_are_interpolated(tmp_path: Path) -> None:
    found = [e for e in events() if e.get("trial") not in ("0011", "0012")]  # together, only the highest is
    table = table_of(RunRecord.load(write_run(tmp_path / "highest", found)))
    sums = table.groupby("ratio")["size_mb"].sum()
    assert list(sums[[0.0, 0.75]]) == pytest.approx([10.0, 10 - 9 * 0.75 + 2 * 0.75**2])
    assert sums[0.25] == pytest.approx(10 - 9 * 0.25 + 2 * 0.75**2 / 3)
    none = [e for e in found if e.get("trial") != "0013"]
    table = table_of(RunRecord.load(write_run(tmp_path / "none", none)))
    for _, rows in table.groupby("branch"):
        np.testing.assert_allclose(np.diff(rows["size_mb"]), np.diff(rows["network_mb"]))


def test_a_joint_point_counts_only_beside_its_branches_own(tmp_path: Path) -> None:
    found = [e for e in events() if e.get("trial") != "0001"]  # left at 0.25 failed
    table = table_of(RunRecord.load(write_run(tmp_path, found)))
    assert table["size_mb"].notna().all()
    assert table[table["ratio"] == 0.5]["size_mb"].sum() == pytest.approx(10 - 9 * 0.5 + 2 * 0.5**2)


def test_points_together_are_a_table_of_their_own(record: RunRecord) -> None:
    together = together_of(record)
    assert list(together["ratio"]) == list(RATIOS)
    np.testing.assert_allclose(together["accuracy"], [0.9 - r**2 for r in RATIOS])
    assert list(together["network_mb"]) == pytest.approx([10 - 9 * r + 2 * r**2 for r in RATIOS])
    assert list(together["trial"]) == ["0000", "0011", "0012", "0013"]
    assert not {"0011", "0012", "0013"} & set(table_of(record)["trial"])


def test_a_ratio_together_is_the_mean_of_what_went(tmp_path: Path) -> None:
    found = events()
    rounded = next(e for e in found if e.get("trial") == "0012")
    rounded["config"]["pruning"]["ratios"] = {"left": 0.5, "right": 0.4375}
    together = together_of(RunRecord.load(write_run(tmp_path, found)))
    assert together["ratio"][2] == pytest.approx(0.46875)


def test_of_one_branch_there_is_nothing_together(tmp_path: Path) -> None:
    folder = write_run(tmp_path, events(parts=("left",)))
    write_sweep(folder)
    assert not (folder / "sweep_together.csv").exists()
    assert json.loads((folder / "sweep.json").read_text())["together"] == {}
    assert "<h2>All branches together</h2>" not in (folder / "sweep.html").read_text()


def test_a_branch_that_saves_nothing_is_no_division_by_zero(tmp_path: Path) -> None:
    found = events()
    for event in found:
        if "values" in event:
            event["values"]["size_mb"] = 10.0
    table = table_of(RunRecord.load(write_run(tmp_path, found)))
    assert list(table["size_mb"]) == [5.0] * 8


def test_contributions_are_empty_until_every_branch_is_pruned_somewhere(tmp_path: Path) -> None:
    begun = [e for e in events() if e.get("trial") in (None, "parent", "0000", "0001", "0002", "0003")]
    folder = write_run(tmp_path, begun)
    table = write_sweep(folder)
    assert list(table["branch"]) == ["left"] * 4 + ["right"]
    assert table[["size_mb", "latency_ms"]].isna().all(axis=None)
    assert table["network_mb"].notna().all()
    document = json.loads((folder / "sweep.json").read_text())
    assert document["notes"][0] == (
        "what each branch contributes to size and latency is left empty: no network with right pruned is "
        "measured yet"
    )
    assert list(document["branches"]["left"]) == ["accuracy"]
    assert "no network with right pruned" in (folder / "sweep.html").read_text()
    with pytest.raises(ValueError, match="size_mb is empty in some rows: go on with the sweep"):
        branches_of(table)
    one_more = [*begun, *(e for e in events() if e.get("trial") == "0004")]
    assert table_of(RunRecord.load(write_run(folder, one_more)))["size_mb"].notna().all()


def test_a_budget_is_divided_over_the_table(record: RunRecord) -> None:
    problem = Problem(branches_of(table_of(record)), total_cap=7.0)
    found = allocate(problem)
    assert found.front["size_mb"].iloc[0] == pytest.approx(7.0, abs=1e-6)


def test_curves_and_page_are_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path, events())
    table = write_sweep(folder)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "sweep.csv", dtype={"trial": str}), table)
    together = pd.read_csv(folder / "sweep_together.csv")
    np.testing.assert_allclose(together[["ratio", "accuracy"]], [(r, 0.9 - r**2) for r in RATIOS])
    document = json.loads((folder / "sweep.json").read_text())
    curve = document["branches"]["left"]["size_mb"]
    assert curve["formula"] == "6.667 - 6 p + 1.333 p^2"
    assert np.all(np.array(curve["low"]) <= curve["values"])
    assert list(document["branches"]) == ["left", "right"]
    joint = document["together"]["accuracy"]
    assert [joint["ratios"][-1], joint["values"][-1]] == pytest.approx([0.75, 0.9 - 0.75**2])
    assert not document["notes"]
    page = (folder / "sweep.html").read_text()
    assert "<td>6.667 - 6 p + 1.333 p^2</td><td>0</td>" in page  # an error of rounding is none
    assert page.count("<td>all together</td>") == 1  # it has a curve of its accuracy alone
    assert "<h2>All branches together</h2>" in page
    assert "<h2>Size, MB</h2>" in page
    assert "http://" not in page.split("</script>")[-1]


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


@pytest.mark.parametrize(
    ("without", "note"),
    [
        ({"left": 0.1, "right": 0.12}, "left_out tells nothing: the network loses about as much to each"),
        ({"left": 0.9, "right": 0.92}, "left_out tells nothing: the network loses nothing to any"),
        ({"left": 0.6, "right": 0.8}, None),
        ({"left": 0.9, "right": 0.8}, None),
        ({"left": 0.1}, None),
    ],
)
def test_where_leaving_out_tells_nothing_a_note_says_so(
    tmp_path: Path, without: dict[str, float], note: str | None
) -> None:
    folder = write_run(tmp_path, [*events(parts=tuple(without)), {**LEFT_OUT, "without": without}])
    write_sweep(folder)
    notes = json.loads((folder / "sweep.json").read_text())["notes"]
    assert [n.startswith(note or "?") for n in notes if "left_out" in n] == [True] * bool(note)
    assert ("left_out tells nothing" in (folder / "sweep.html").read_text()) == bool(note)


def test_too_few_ratios_give_a_note_and_no_curve(tmp_path: Path) -> None:
    table = table_of(RunRecord.load(write_run(tmp_path, events(ratios=(0.0, 0.5)))))
    curves, notes = fitted(table, ["accuracy", "size_mb"])
    assert not curves
    assert notes == [f"{n} has 2 different ratios, and a curve needs 4" for n in ("left", "right")]


def test_a_sweep_that_has_just_begun_has_an_empty_table(tmp_path: Path) -> None:
    folder = write_run(tmp_path, events()[:1])
    table = write_sweep(folder)
    assert table.empty
    assert "network_mb" in table
    assert json.loads((folder / "sweep.json").read_text())["notes"] == ["no point is complete yet"]
    page = (folder / "sweep.html").read_text()
    assert "<p>no point is complete yet</p>" in page
    assert "Measurements" not in page


@pytest.mark.parametrize(("quality", "name"), [(RMSE, "-rmse"), (LIKELIHOOD, "log_likelihood")])
def test_a_metric_of_the_tasks_own_is_held_so_that_more_is_better(
    tmp_path: Path, quality: Quality, name: str
) -> None:
    without = {part: quality(figure) for part, figure in LEFT_OUT["without"].items()}
    left_out = {**LEFT_OUT, "accuracy": quality(LEFT_OUT["accuracy"]), "without": without}
    folder = write_run(tmp_path / "own", [*events(quality=quality), left_out])
    table = write_sweep(folder)
    usual = write_sweep(write_run(tmp_path / "usual", [*events(), LEFT_OUT]))
    sign = -1 if quality is RMSE else 1
    assert list(table[name]) == pytest.approx([sign * quality(figure) for figure in usual["accuracy"]])
    # Lost is lost, whatever the sign and the unit: the linear function scales it.
    assert list(table["left_out"]) == pytest.approx([abs(quality.factor) * v for v in usual["left_out"]])
    curves = json.loads((folder / "sweep.json").read_text())["branches"]["left"]
    assert curves[name]["values"] == sorted(curves[name]["values"], reverse=True)
    page = (folder / "sweep.html").read_text()
    assert f"{name} without it" in page
    assert "accuracy without" not in page
    assert f"<td>{sign * quality(0.9):.4g}</td>" in page
