"""A run folder that 0.1.0 left (digits, four trials of one epoch) still opens and is gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from raysearch import StudyResult, load_variant
from raysearch.cli.main import app
from raysearch.record import journal
from raysearch.resume import resume
from raysearch.study import study_of
from raysearch.study_file.schema import parse

GOLDEN = Path(__file__).parent / "golden" / "run_of_0_1_0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


def test_its_front_is_what_0_1_0_showed(folder: Path) -> None:
    shown = pd.read_csv(GOLDEN / "front.csv", dtype={"trial": str})
    done = CliRunner().invoke(app, ["report", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    assert [row["trial"] for row in json.loads(done.stdout)["front"]] == ["0003", "0002"]
    assert (folder / "report.html").stat().st_size > 10_000
    pd.testing.assert_frame_equal(pd.read_csv(folder / "front.csv", dtype={"trial": str}), shown)
    front = StudyResult(folder).front
    assert front["trial"].tolist() == shown["trial"].tolist()
    assert front["accuracy"].tolist() == pytest.approx(shown["accuracy"].tolist())


def test_resuming_it_where_it_is_complete_runs_nothing(folder: Path) -> None:
    done = CliRunner().invoke(app, ["resume", str(folder), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "complete already: nothing ran again" in done.output
    assert (folder / "journal.jsonl").read_bytes() == (GOLDEN / "journal.jsonl").read_bytes()


def test_its_study_is_described_as_it_was() -> None:
    described = next(journal.read(GOLDEN))["study"]
    assert study_of(parse(described)).describe() == described


@pytest.mark.slow
def test_it_is_gone_on_with_where_it_is_not_complete(folder: Path, cluster: None) -> None:
    lines = (GOLDEN / "journal.jsonl").read_text().splitlines(keepends=True)
    begun = next(i for i, line in enumerate(lines) if '"suggestion"' in line and '"trial": "0003"' in line)
    kept = [line for line in lines[: begun + 6] if '"trial": "0003"' not in line]
    (folder / "journal.jsonl").write_text("".join(kept))
    result = resume(folder, progress=False)
    assert result.complete
    assert result.counts() == {"finished": 4, "stopped": 0, "failed": 0, "waiting": 0, "unfinished": 0}
    assert (folder / "journal.jsonl").read_text().startswith("".join(kept))
    before = StudyResult(GOLDEN).record.trials
    assert all(result.record.trials[t].values == before[t].values for t in ("0000", "0001"))


def test_a_variant_of_its_form_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"has version 1, this raysearch rebuilds 2: run the model file"):
        load_variant(folder / "variants" / "0002")
