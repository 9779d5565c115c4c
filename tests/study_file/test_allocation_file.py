"""Allocation files: what their keys mean, and which are refused with one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from budget_files import FINISH, LINES, invoke, lines, write
from fake_run import RMSE, write_run
from sweep_events import LEFT_OUT, events

from raysearch.allocation import allocate
from raysearch.study_file.allocation_file import load
from raysearch.sweeps.table import write_sweep


def test_importances_that_do_not_sum_to_1_are_divided_with_a_note(tmp_path: Path) -> None:
    done = invoke("allocate", write(tmp_path, lines(importances=[3, 1])))
    assert done.exit_code == 0
    assert done.output.startswith("note: importances sum to 4: divided by their sum")


def test_numbers_may_be_given_for_all_as_a_list_or_by_branch(tmp_path: Path) -> None:
    forms = (50, [50, 50], {"back": 50, "front": 50})
    problems = [load(write(tmp_path, lines(caps=caps, time_scales=2)))[1] for caps in forms]
    assert {p.names for p in problems} == {("front", "back")}
    for problem in problems:
        np.testing.assert_array_equal(problem.caps, [50, 50])
        assert [b.time_scale for b in problem.branches] == [2, 2]
    some = load(write(tmp_path, lines(caps={"back": 50})))[1]
    assert list(some.caps) == [np.inf, 50]


def test_curves_by_branch_and_of_the_studies(tmp_path: Path) -> None:
    own = {"curves": {7: LINES, "thin": {**LINES, "size_mb": "10 - 5 p"}}}
    _, problem, notes = load(write(tmp_path, own))
    assert problem.names == ("7", "thin")
    assert list(problem.importances) == [0.5, 0.5]
    assert list(problem.sizes(np.zeros(2))) == [100, 10]
    assert not notes
    _, problem, _ = load(write(tmp_path, {"curves": "instance_b", "importances": [1]}))
    assert float(problem.total_size(np.array([1.0]))) == pytest.approx(53.0)


def test_measurements_are_a_sweep_s_table(tmp_path: Path) -> None:
    ratios = np.linspace(0, 0.9, 7)
    rows = [(b, r, 0.9 - 0.2 * r**2, 4 - 3 * r) for b in ("stage1", "stage2") for r in ratios]
    pd.DataFrame(rows, columns=["branch", "ratio", "accuracy", "size_mb"]).to_csv(tmp_path / "m.csv")
    path = write(tmp_path, {"measurements": "m.csv", "importances": {"stage1": 0.8, "stage2": 0.2},
                            "total_cap": 6})  # fmt: skip
    document = json.loads(invoke("allocate", path, "--json").stdout)
    ratios_found = {b["branch"]: b["ratio"] for b in document["best"]["branches"]}
    assert ratios_found["stage1"] < ratios_found["stage2"]
    assert "latency_ms" not in document["best"]
    done = invoke("allocate", path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "MB, the smallest of the front" in (tmp_path / "out" / "allocation.html").read_text()


def test_importances_may_be_what_a_sweep_lost_without_each_branch(tmp_path: Path) -> None:
    table = write_sweep(write_run(tmp_path / "run", [*events(), LEFT_OUT, FINISH]))
    path = write(tmp_path, {"measurements": "run/sweep.csv", "importances": "left_out", "total_cap": 6})
    problem = load(path)[1]
    np.testing.assert_allclose(problem.importances, [0.75, 0.25])
    table.assign(left_out=[-0.01] * 4 + [0.0] * 4).to_csv(tmp_path / "unmissed.csv")
    unmissed = write(tmp_path, {"measurements": "unmissed.csv", "importances": "left_out"})
    assert (
        "note: the network loses nothing to a branch that is left out: importances are equal"
        in invoke("allocate", unmissed).output
    )
    table.drop(columns="left_out").to_csv(tmp_path / "old.csv")
    for change, message in (
        ({"measurements": "old.csv"}, "importances is 'left_out', but the measurements have no column"),
        ({"measurements": None, "curves": LINES}, "importances is 'left_out', which a sweep measures"),
        ({"importances": "leftout"}, "importances is 'leftout': give numbers"),
        ({"measurements": None, "curves": LINES, "importances": "alone"}, "importances is 'alone', which a"),
    ):
        bad = {"measurements": "run/sweep.csv", "importances": "left_out", **change}
        done = invoke("allocate", write(tmp_path, bad))
        assert done.exit_code == 2, done.output
        assert message in done.output


def test_importances_may_be_what_a_sweep_lost_to_each_branch_alone(tmp_path: Path) -> None:
    rows = [(b, r, 0.9 - loss * r, 4 - 3 * r) for r in (0.5, 0, 0.25, 0.75)
            for b, loss in (("a", 0.3), ("b", 0.1), ("c", -0.1))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["branch", "ratio", "accuracy", "size_mb"])
    table.to_csv(tmp_path / "m.csv")
    path = write(tmp_path, {"measurements": "m.csv", "importances": "alone"})
    np.testing.assert_allclose(load(path)[1].importances, [0.75, 0.25, 0])
    table.assign(accuracy=0.9).to_csv(tmp_path / "m.csv")
    assert "note: the network loses nothing to a branch pruned alone: importances are" in invoke(
        "allocate", path
    ).output.replace("\n", " ")


def test_accuracy_is_the_network_s_with_all_pruned_together_where_the_sweep_has_it(tmp_path: Path) -> None:
    write_sweep(write_run(tmp_path / "run", [*events(), FINISH]))
    given = {"measurements": "run/sweep.csv", "importances": [0.7, 0.3]}
    equal = np.array([0.5, 0.5])
    assert "weighted accuracy 90.00 % +- " in invoke("allocate", write(tmp_path, given)).output
    for asked, accuracy, note in (
        ({}, 0.9 - 0.5**2, "accuracy is of all branches pruned together, by sweep_together.csv"),
        ({"accuracy": "together"}, 0.9 - 0.5**2, "accuracy is of all branches pruned together"),
        ({"accuracy": "alone"}, 0.9 - 0.3 * 0.5**2, "accuracy is of branches pruned alone"),
    ):
        path = write(tmp_path, {**given, **asked})
        _, problem, notes = load(path)
        assert float(problem.weighted_accuracy(equal)) == pytest.approx(accuracy)
        assert notes[0].startswith(note)
        assert f"note: {note}" in invoke("allocate", path).output
    together = tmp_path / "run" / "sweep_together.csv"
    cliff = {0.0: 0.98, 0.25: 0.97, 0.5: 0.92, 0.6: 0.89, 0.75: 0.28}
    pd.Series(cliff).rename_axis("ratio").rename("accuracy").to_csv(together)
    problem = load(write(tmp_path, given))[1]
    for ratio, measured in cliff.items():  # the network's own figures, as they were measured
        assert float(problem.weighted_accuracy([ratio, ratio])) == pytest.approx(measured)
    for text, message in (
        (
            "ratio,accuracy\n0,1\n",
            "different ratios: a curve needs at least 4; finish the sweep, or say alone",
        ),
        ("ratio\n0\n", "sweep_together.csv has no column 'accuracy'"),
    ):
        together.write_text(text)
        refused = invoke("allocate", write(tmp_path, given))
        assert refused.exit_code == 2
        assert message in refused.output
    together.unlink()
    assert load(write(tmp_path, given))[2][0].startswith("accuracy is of branches pruned alone")
    refused = invoke("allocate", write(tmp_path, {**given, "accuracy": "together"}))
    assert refused.exit_code == 2
    assert "accuracy: together: " in refused.output
    assert "sweep_together.csv does not exist" in refused.output


BAD = [
    ({"importances": [0.5, -0.5]}, "branch '1': importance is -0.5, it must be a number >= 0"),
    ({"importances": {"front": -1, "back": 2}}, "branch 'front': importance is -1, it must"),
    ({"importances": [0.5] * 2, "caps": [50] * 3}, "importances has 2 numbers and caps has 3 numbers: give"),
    ({"importances": ["a", "b"]}, "importances is ['a', 'b']: give numbers"),
    ({"importances": {"front": 1}, "caps": [50, 50]}, "caps has 2 numbers, and there are 1 branches"),
    ({"caps": 10}, "pruned in full it still has 20 MB"),
    ({"caps": {"bakc": 50}}, "caps names the branch 'bakc'; did you mean 'back'"),
    ({"total_cap": 30}, "pruned in full there are still 40 MB"),
    ({"floor": 91}, "even unpruned the weighted accuracy is 90"),
    ({"latency_cap": 1}, "pruned in full it still takes 5 ms"),
    ({"latency": "paralel"}, "did you mean 'parallel'"),
    ({"time_scales": 0}, "time_scale is 0.0, it must be a number > 0"),
    ({"points": 1}, "points is 1: give at least 2"),
    ({"florr": 3}, "the allocation file has an unknown key 'florr'; did you mean 'floor'"),
    ({"curves": {**LINES, "accuracy": "90 + 40 p"}}, "rises from ratio 0"),
    ({"curves": {**LINES, "accuracy": [90, float("inf")]}}, "a curve needs one or more finite numbers"),
    ({"curves": {**LINES, "accuracy": "90 - 1e400 p"}}, "a curve needs one or more finite numbers"),
    ({"curves": {**LINES, "accuracy": "90 / p"}}, "curves.accuracy: the curve '90 / p' cannot be read"),
    ({"curves": {**LINES, "accuracy": "85 - 3 q"}}, "the curve '85 - 3 q' cannot be read: 'q' is unknown"),
    ({"curves": {**LINES, "accuracy": True}}, "curves.accuracy is True: give a formula"),
    ({"curves": {**LINES, "size": "3"}}, "curves has an unknown key 'size'; did you mean 'size_mb'"),
    ({"curves": {"accuracy": "90"}}, "the key curves.size_mb is missing"),
    ({"curves": "instanc_a"}, "curves is 'instanc_a'; did you mean 'instance_a'"),
    ({"curves": {"left": LINES, "right": LINES}}, "importances names the branch 'front'; known: left, right"),
    (
        {"curves": 3},
        "curves is of the type int: give one mapping for all branches, {accuracy: ..., size_mb: ...}",
    ),
    ({"curves": [LINES, LINES]}, "curves is of the type list: give one mapping for all branches"),
    ({"total_cap": "5"}, "total_cap is '5': give a number"),
    ({"floor": float("nan")}, "floor is nan: give a finite number"),
    ({"importances": {}}, "importances is missing"),
    ({"curves": None}, "curves or measurements: neither is given"),
    ({"accuracy": "alone"}, "accuracy is 'alone', which says how to read measurements: give them"),
    ({"accuracy": "togehter"}, "accuracy is 'togehter'; did you mean 'together'"),
    ({"measurements": "m.csv"}, "curves or measurements: both are given"),
    ({"curves": None, "measurements": "nowhere.csv"}, "nowhere.csv does not exist"),
    ({"importances": None}, "importances is missing"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    done = invoke("allocate", write(tmp_path, lines(**change)), "--json")
    assert done.exit_code == 2, done.output
    error = json.loads(done.stdout)["error"]
    assert message in error
    assert len(error.splitlines()) == 1


TABLES = [
    ("branch,ratio,accuracy\na,0,1\n", "the sweep has no column 'size_mb'"),
    ("branch,ratio,accuracy,size_mb\na,0,1,1\na,.5,.9,.5\n", "2 different ratios: a curve needs at least 4"),
    ("branch,ratio,accuracy,size_mb\na,0,x,1\n", "could not convert"),
    ("", "is not a CSV table"),
    ("branch,ratio,accuracy,size_mb\n", "m.csv has no rows"),
]


@pytest.mark.parametrize(("text", "message"), TABLES)
def test_a_bad_table_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    done = invoke("allocate", write(tmp_path, {"measurements": "m.csv"}))
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert len(done.output.splitlines()) == 1


def test_a_missing_file() -> None:
    done = invoke("allocate", "nowhere.yaml")
    assert done.exit_code == 2
    assert "nowhere.yaml does not exist" in done.output


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    done = invoke("allocate", tmp_path)
    assert done.exit_code == 2
    assert "is a folder: give an allocation file" in done.output


@pytest.mark.parametrize("importances", ["left_out", "alone", None])
def test_a_budget_is_divided_by_a_metric_of_the_tasks_own(tmp_path: Path, importances: str | None) -> None:
    """The same sweep in another unit, lower being better, is divided alike."""
    without = {part: RMSE(figure) for part, figure in LEFT_OUT["without"].items()}
    own = {**LEFT_OUT, "accuracy": RMSE(LEFT_OUT["accuracy"]), "without": without}
    write_sweep(write_run(tmp_path / "usual", [*events(), LEFT_OUT]))
    write_sweep(write_run(tmp_path / "own", [*events(quality=RMSE), own]))
    limits = {"importances": importances, "total_cap": 6, "points": 8}
    usual = load(write(tmp_path, {"measurements": "usual/sweep.csv", **limits}))[1]
    path = write(tmp_path, {"measurements": "own/sweep.csv", "metric": "-rmse", **limits})
    document = json.loads(invoke("allocate", path, "--json").stdout)
    ratios = [b["ratio"] for b in document["best"]["branches"]]
    assert document["best"]["accuracy"] < 0
    best = allocate(usual, points=8).ratios[0]
    np.testing.assert_allclose(ratios, best, atol=1e-3)
    done = invoke("allocate", path)
    assert "-rmse is of all branches pruned together" in done.output
    assert "weighted -rmse -" in done.output
    assert "%" not in done.output


def test_a_metric_that_the_measurements_lack_is_refused_with_those_they_have(tmp_path: Path) -> None:
    write_sweep(write_run(tmp_path / "own", events(quality=RMSE)))
    with pytest.raises(ValueError, match="the sweep has no column 'accuracy', only branch, ratio, -rmse"):
        load(write(tmp_path, {"measurements": "own/sweep.csv", "accuracy": "alone"}))
