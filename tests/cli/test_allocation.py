"""The commands sweep and allocate: what they print and write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from budget_files import FINISH, invoke, lines, write
from fake_run import write_run
from sweep_events import events

import raysearch.resume
import raysearch.sweeps.sweep
from raysearch.results import StudyResult
from raysearch.runs.phases import conclude
from raysearch.study_file.schema import StudyFile
from raysearch.sweeps.table import write_sweep

SWEEP: Any = SimpleNamespace(write_pages=write_sweep)
INSTANCE_A = Path(__file__).parents[2] / "examples" / "instance_a.yaml"


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

    def run(plan: Any, folder: Path, **keywords: Any) -> StudyResult:
        calls.append((plan, keywords["progress"]))
        write_sweep(write_run(folder, [*events(), FINISH]))
        return StudyResult(folder)

    def plan(file: StudyFile) -> Any:
        calls.append((file.sweep.parts, file.sweep.ratios, file.sweep.multiple))
        return "the plan"

    monkeypatch.setattr(raysearch.sweeps.sweep, "plan_of", plan)
    monkeypatch.setattr(raysearch.sweeps.sweep, "run_sweep", run)
    return calls


def test_sweep_hands_its_section_on_and_writes_the_table(fake_sweep: list[Any], tmp_path: Path) -> None:
    path, out = write(tmp_path, STUDY), tmp_path / "out"
    done = invoke("sweep", path, "--set", "sweep.multiple=4", "--out", out, "--quiet")
    assert done.exit_code == 0, done.output
    assert fake_sweep == [(["left", "right"], [0, 0.25, 0.5, 0.75], 4), ("the plan", False)]
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
    task = {"import": "branch_networks:two_branches"}
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
    monkeypatch.setattr(raysearch.resume, "resume", lambda *_, **__: conclude(SWEEP, folder))
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
