"""The results of a run as a user has them."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from fake_run import TARGET, make_events, write_run

from raysearch import StudyResult, storage
from raysearch.reporting.cards import write_cards
from raysearch.reporting.html import write_report
from raysearch.storage import Remote


@pytest.fixture
def result(tmp_path: Path) -> StudyResult:
    return StudyResult(write_run(tmp_path / "run", make_events()))


def test_the_front_is_drawn_over_the_first_two_objectives(result: StudyResult) -> None:
    first, second = result.goals.metrics[:2]
    figure, same = result.plot_front(), result.plot_front(x=second, y=first)
    assert figure == same
    other = result.plot_front(x="macs", y="size_mb")
    (drawn,) = (trace for trace in other.data if trace.name == "front")
    parent = result.record.parent
    searched = [t for t in result.front_records if t is not parent]
    assert {(t.values["macs"], t.values["size_mb"]) for t in searched} == set(
        zip(drawn.x, drawn.y, strict=True)
    )


def test_an_unknown_metric_is_refused(result: StudyResult) -> None:
    with pytest.raises(ValueError, match="did you mean 'size_mb'"):
        result.plot_front(x="size")


def test_it_says_what_it_is(result: StudyResult) -> None:
    assert repr(result).startswith(f"StudyResult('{result.folder}': a front of {len(result.front)} from ")
    assert f"times_faster/{TARGET}" in result._repr_html_()


def test_a_run_in_a_bucket_is_read_and_reported_alike(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_events())
    bucket = Remote(f"memory://{uuid.uuid4().hex}/run")
    for file in (p for p in folder.rglob("*") if p.is_file()):
        storage.write(bucket / file.relative_to(folder), file.read_bytes())
    here, there = StudyResult(folder), StudyResult(str(bucket))
    assert here.front.equals(there.front)
    for result in (here, there):
        result.write_tables()
        write_cards(result.record, result.folder)
        write_report(result.folder)
    for name in ("trials.csv", "front.csv", "study.yaml", "report.html", "variants/parent/README.md"):
        assert storage.exists(bucket / name)
    assert storage.read(bucket / "trials.csv") == (folder / "trials.csv").read_bytes()
    name = there.front_records[0].name
    there.export(tmp_path / "deploy")
    assert (tmp_path / "deploy" / name / "README.md").read_bytes() == storage.read(
        bucket / "variants" / name / "README.md"
    )
    storage.remove(bucket / "variants" / name)
    with pytest.raises(FileNotFoundError, match=f"variant {name} cannot be exported: .* is missing"):
        there.export(tmp_path / "deploy")
