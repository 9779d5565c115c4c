"""The commands sweep and allocate: what they print and write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_run import write_run
from test_sweep_table import LEFT_OUT, events
from typer.testing import CliRunner

import raysearch.study
import raysearch.sweep
from raysearch.allocation_file import load
from raysearch.cli import app
from raysearch.results import StudyResult
from raysearch.run import _conclude
from raysearch.schema import StudyFile
from raysearch.sweep_table import write_sweep

FINISH = {"event": "session", "action": "finish", "time": 99.0}
INSTANCE_A = Path(__file__).parents[1] / "examples" / "instance_a.yaml"
LINES = {"accuracy": "90 - 40 p", "size_mb": [100, -80], "latency_ms": "10 - 5 p"}


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "budget.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def lines(**more: Any) -> dict[str, Any]:
    """Two branches with straight curves."""
    return {"curves": LINES, "importances": {"front": 0.7, "back": 0.3}, **more}


def test_the_study_s_instance_is_feasible_at_76_48() -> None:
    document = json.loads(invoke("allocate", INSTANCE_A, "--json").stdout)
    assert document["feasible"]
    assert document["best"]["accuracy"] == pytest.approx(76.4847, abs=1e-3)
    assert document["best"]["bottleneck"] == "4"
    assert document["best"]["mean_ms"] < document["best"]["bottleneck_ms"] == document["best"]["latency_ms"]
    assert len(document["front"]) >= 100
    assert [b["ratio"] for b in document["best"]["branches"]][:2] == pytest.approx([0.150, 0.073], abs=1e-3)


def test_people_read_a_table_and_the_bottleneck() -> None:
    done = invoke("allocate", INSTANCE_A)
    assert done.exit_code == 0, done.output
    assert "weighted accuracy 76.48, 3925 MB" in done.output
    assert "the slowest is branch 4 at 0.6269 ms" in done.output
    assert "cap, MB" in done.output
    assert "The most accurate division: weighted accuracy 76.48, 3925 MB" in done.output
    assert "The smallest division: weighted accuracy 64.59, 1955 MB" in done.output
    assert "The front between them has 128 points." in done.output


def test_out_is_a_folder_with_the_answer(tmp_path: Path) -> None:
    done = invoke("allocate", write(tmp_path, lines(total_cap=120)), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "out" / "allocation.json").read_text())
    front = pd.read_csv(tmp_path / "out" / "front.csv")
    assert len(front) == len(document["front"])
    assert front["size_mb"].max() == pytest.approx(120)
    page = (tmp_path / "out" / "allocation.html").read_text()
    assert "The front" in page
    assert "total_cap: 120" in page
    assert "<script src" not in page


def test_keys_are_overridden_and_the_page_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, lines(total_cap=120))
    done = invoke(
        "allocate", path, "--set", "total_cap=110", "--set", "caps.front=70", "--out", tmp_path / "out"
    )
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "out" / "allocation.json").read_text())
    assert document["best"]["size_mb"] == pytest.approx(110)
    assert document["best"]["branches"][0]["cap_mb"] == 70
    assert (
        "# --set total_cap=110\n# --set caps.front=70" in (tmp_path / "out" / "allocation.html").read_text()
    )
    for bad, message in (("florr=3", "did you mean 'floor'"), ("floor", "'floor' is not KEY=VALUE")):
        refused = invoke("allocate", path, "--set", bad)
        assert refused.exit_code == 2
        assert message in refused.output


def test_where_nothing_is_feasible_that_is_the_answer(tmp_path: Path) -> None:
    path = write(tmp_path, lines(floor=85, total_cap=60))
    done = invoke("allocate", path, "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "these limits cannot all be kept: floor 85; total cap 60 MB" in done.output
    document = json.loads(invoke("allocate", path, "--json").stdout)
    assert document["feasible"] is False
    assert {r["way"] for r in document["relaxations"]} == {"floor", "total cap", "both"}
    repaired = next(r for r in document["relaxations"] if r["way"] == "floor")["floor"]
    again = invoke("allocate", write(tmp_path, lines(floor=repaired - 1e-6, total_cap=60)), "--json")
    assert json.loads(again.stdout)["feasible"]
    assert "The smallest relaxations" in (tmp_path / "out" / "allocation.html").read_text()


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
    ({"floor": float("nan")}, "floor is not a number"),
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


STUDY = {
    "task": "digits",
    "space": {"pruning": {"channel_pruning": {}}},
    "objectives": ["maximize accuracy"],
    "search": {"epochs": 1},
    "sweep": {"parts": ["left", "right"], "ratios": [0, 0.25, 0.5, 0.75]},
}


@pytest.fixture
def fake_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """A sweep whose journal is there already; what it was asked for."""
    calls: list[Any] = []

    def run(num_trials: int, *, folder: Path, **keywords: Any) -> StudyResult:
        calls.append((num_trials, keywords["progress"]))
        write_sweep(write_run(folder, [*events(), FINISH]))
        return StudyResult(folder)

    def plan(file: StudyFile) -> Any:
        calls.append((file.sweep.parts, file.sweep.ratios, file.sweep.multiple))
        return SimpleNamespace(run=run, evaluate_first=[{}] * 7)

    monkeypatch.setattr(raysearch.sweep, "plan_of", plan)
    return calls


def test_sweep_hands_its_section_on_and_writes_the_table(fake_sweep: list[Any], tmp_path: Path) -> None:
    path, out = write(tmp_path, STUDY), tmp_path / "out"
    done = invoke("sweep", path, "--set", "sweep.multiple=4", "--out", out, "--quiet")
    assert done.exit_code == 0, done.output
    assert fake_sweep == [(["left", "right"], [0, 0.25, 0.5, 0.75], 4), (7, False)]
    assert all((out / name).exists() for name in ("sweep.csv", "sweep.json", "sweep.html"))
    assert "network, MB" in done.output
    document = json.loads(invoke("sweep", path, "--out", out, "--json").stdout)
    assert len(document["points"]) == 8
    assert [point["ratio"] for point in document["together"]] == [0, 0.25, 0.5, 0.75]
    assert "all together" in done.output
    assert document["complete"]
    divided = write(tmp_path, {"measurements": "out/sweep.csv", "floor": 0.8})
    assert json.loads(invoke("allocate", divided, "--json").stdout)["feasible"]


def test_check_takes_a_file_without_a_space_for_a_sweep_s(tmp_path: Path) -> None:
    task = {"import": "test_sweep:two_branches"}
    given = {"task": task, "sweep": {"parts": ["left"], "multiple": 4}}
    done = invoke("check", write(tmp_path, given))
    assert done.exit_code == 0, done.output
    assert "a sweep has 4 points, over left; a search needs a space" in done.output
    few = invoke("check", write(tmp_path, given), "--set", "sweep.ratios=[0, 0.5]")
    assert few.exit_code == 2
    assert "sweep.ratios is [0.0, 0.5], 2 different ratios" in few.output
    misspelt = invoke("check", write(tmp_path, given), "--set", "sweep.parts=[lefft]")
    assert misspelt.exit_code == 2
    assert "did you mean 'left'" in misspelt.output


@pytest.mark.parametrize("command", ["report", "resume"])
def test_other_commands_know_a_sweep_s_folder(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path, [*events(), FINISH])
    monkeypatch.setattr(raysearch.study, "resume", lambda folder, **_: _conclude(folder))
    done = invoke(command, folder)
    assert done.exit_code == 0, done.output
    assert "network, MB" in done.output
    assert f"with measurements: {folder / 'sweep.csv'}" in done.output.replace("\n", "")
    assert len(pd.read_csv(folder / "sweep.csv")) == 8
    assert '<a href="sweep.html">The curves of this sweep.</a>' in (folder / "report.html").read_text()
    for name in ("sweep.csv", "sweep.json", "sweep.html"):
        (folder / name).unlink()  # by the command itself
    write_run(folder, events())
    assert f"Go on with: raysearch resume {folder}" in invoke(command, folder).output.replace("\n", "")
    assert (folder / "sweep.html").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sweep.part=[left]", "sweep has an unknown key 'part'; did you mean 'parts'"),
        ("sweep.multiple=0", "sweep.multiple is 0: give at least 1"),
        ("sweep.ratios=all", "sweep.ratios is 'all': give a list"),
    ],
)
def test_a_bad_sweep_is_one_sentence(tmp_path: Path, change: str, message: str) -> None:
    done = invoke("sweep", write(tmp_path, STUDY), "--set", change)
    assert done.exit_code == 2
    assert message in done.output


def test_a_sweep_without_a_point_shows_no_curves(tmp_path: Path) -> None:
    begun = [e for e in events() if "trial" not in e or e["trial"] == "parent"]
    done = invoke("report", write_run(tmp_path / "run", begun))
    assert "no point is complete yet" in done.output, done.output
    assert "Curves and measurements" not in done.output
