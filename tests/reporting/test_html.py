from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from fake_run import (
    LIKELIHOOD,
    RMSE,
    STUDY,
    TARGET,
    FakeRun,
    Quality,
    make_events,
    study_of,
    write_run,
)

from raysearch.reporting.html import write_report
from raysearch.results import StudyResult


def text_of(page: str) -> str:
    """What a reader sees: without scripts, styles and tags."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", make_events())


def test_the_report_stands_alone(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.count("plotly.js v") <= 2  # inlined once
    without_plotly = re.sub(r"<script>/\*\*.*?</script>", "", page, count=1, flags=re.S)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert len(without_plotly) < 500_000
    assert page.count("Plotly.newPlot(") >= 5


def test_the_report_says_everything(folder: Path) -> None:
    text = text_of(write_report(folder).read_text(encoding="utf-8"))
    result = StudyResult(folder)
    for name in result.front["trial"]:
        assert name in text
    said = "48 trials|24 complete|16 stopped early|5 untrained|3 failed|loss is NaN at epoch 2"
    said += "|onnxruntime 1.31.1|Cascade Lake|± 1.2 %|not faster|before the first epoch"
    for part in said.split("|"):
        assert part in text


def test_remarks_on_bits_name_their_variants(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 2, 0.9)
    run.events[-2]["values"] = {"accuracy": 0.99, f"accuracy/{TARGET}": 0.99}
    text = text_of(write_report(write_run(tmp_path / "run", run.events)).read_text(encoding="utf-8"))
    assert "weights of 2 bits are computed in 8: they count in size_mb, not in latency (0000)" in text


def test_texts_from_the_run_are_escaped(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.9, end="failed", at=1)
    run.events[-1]["reason"] = "<script>alert(1)</script>"
    page = write_report(write_run(tmp_path / "run", run.events)).read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("trials", [0, 1])
def test_a_run_that_has_only_begun(tmp_path: Path, trials: int) -> None:
    run = FakeRun(STUDY, 0)
    if trials:
        run.trial("parent", "reference", 32, 1.0)
    text = text_of(write_report(write_run(tmp_path / "run", run.events)).read_text(encoding="utf-8"))
    assert "raysearch resume goes on with it" in text


def test_it_says_how_often_the_test_split_was_used(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.final("parent", 0.4, 0.97)
    text = text_of(write_report(write_run(tmp_path / "run", run.events)).read_text(encoding="utf-8"))
    assert "the test split was used once for each variant." in text


def text_in(folder: Path) -> str:
    return text_of(write_report(folder).read_text(encoding="utf-8"))


@pytest.mark.parametrize("quality", [RMSE, LIKELIHOOD])
def test_figures_of_the_report_are_those_of_the_journal(tmp_path: Path, quality: Quality) -> None:
    events = make_events(quality=quality)
    run = FakeRun(study_of(quality), 0, quality)
    for name in ("parent", *(f"{i:04d}" for i in range(48))):
        run.final(name, 0.4, 0.97)
    folder = write_run(tmp_path / "run", [*events, *run.events[2:]])
    page = write_report(folder).read_text(encoding="utf-8")
    result, name = StudyResult(folder), quality.name
    assert f"<th>{name}</th><th>test {name}</th>" in page
    for trial in result.front_records:
        assert f"<td>{trial.values[name]:.4g}</td>" in page.split(f"<td>{trial.name}", 1)[1][:400]
    assert f"<td>{quality(0.97):.4g}</td>" in page.split("<td>parent", 1)[1][:400]
    assert "accuracy" not in text_of(page)


def test_a_metric_that_is_always_nan_is_said(tmp_path: Path) -> None:
    nan = Quality("rmse", "", math.nan, -1.0)
    text = text_in(write_run(tmp_path / "run", make_events(quality=nan)))
    assert "rmse had no finite value in " in text
    assert "constraints" not in text.split("The front")[1].split("Variants")[0]


def test_a_constant_objective_is_said(tmp_path: Path) -> None:
    flat = Quality("rmse", "", 2.5, 0.0)
    text = text_in(write_run(tmp_path / "run", make_events(quality=flat)))
    assert "rmse is 2.5 in all 24 complete trials" in text


def test_the_reference_of_the_hypervolume_is_given_in_figures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_events(quality=RMSE))
    parent = StudyResult(folder).parent["rmse"]
    assert f"It counts what is better than rmse {2 * parent:.4g}, latency, ms ({TARGET}) " in text_in(folder)


def test_a_failed_trial_s_traceback_is_linked(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.9, end="failed", at=1)
    run.events[-1]["traceback"] = "failures/0000.txt"
    page = write_report(write_run(tmp_path / "run", run.events)).read_text(encoding="utf-8")
    assert '<a href="failures/0000.txt">failures/0000.txt</a>' in page
