"""A run folder of 0.1.0 as it was released (digits, screening, pauses and promotions) still opens.

Its earliest form, of which ``test_run_of_0_1_0`` tells, had none of these. A run is left here for
every version that is released.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from raysearch import StudyResult, load_variant
from raysearch.cli.main import app
from raysearch.record import journal
from raysearch.study import study_of
from raysearch.study_file.schema import parse

HERE = Path(__file__).parent / "golden"
GOLDEN = HERE / "run_of_0_1_0_late"
EVERY = sorted(HERE.glob("run_of_*"))


@pytest.mark.parametrize("folder", EVERY, ids=lambda folder: folder.name)
def test_every_line_of_every_version_is_read_as_it_was_written(folder: Path) -> None:
    written = (folder / "journal.jsonl").read_text().splitlines()
    assert [json.dumps(event) for event in journal.read(folder)] == written


def test_its_front_is_what_was_shown(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    done = CliRunner().invoke(app, ["report", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["trials"] == {"finished": 3, "stopped": 8, "failed": 0, "waiting": 0, "unfinished": 0}
    shown, now = (pd.read_csv(place / "front.csv", dtype={"trial": str}) for place in (GOLDEN, folder))
    pd.testing.assert_frame_equal(now, shown)


def test_it_is_complete_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    done = CliRunner().invoke(app, ["resume", str(folder), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "complete already: nothing ran again" in done.output
    assert (folder / "journal.jsonl").read_bytes() == (GOLDEN / "journal.jsonl").read_bytes()


def test_its_study_is_described_as_it_was() -> None:
    described = next(journal.read(GOLDEN))["study"]
    assert study_of(parse(described)).describe() == described


@pytest.mark.parametrize("name", ["0002", "0005"])
def test_its_variants_are_rebuilt(name: str) -> None:
    assert load_variant(GOLDEN / "variants" / name)(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_what_waited_and_went_on_is_told() -> None:
    record = StudyResult(GOLDEN).record
    assert [e["event"] for e in journal.read(GOLDEN)].count("promotion") == 8
    assert record.trials["0005"].outcome == "finished"
    assert record.trials["0000"].reason == "paused at step 1 to the end"
