"""The results of a run as a user has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import TARGET, make_events, write_run

from raysearch import StudyResult


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
