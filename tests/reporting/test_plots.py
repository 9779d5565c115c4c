from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import STUDY, TARGET, FakeRun, make_events, write_run

from raysearch.record.results import StudyResult
from raysearch.reporting import plots


@pytest.fixture
def result(tmp_path: Path) -> StudyResult:
    return StudyResult(write_run(tmp_path / "run", make_events()))


def test_the_front_tells_its_groups_apart(result: StudyResult) -> None:
    figure = plots.front(result, "size_mb", "accuracy")
    traces = {t.name: t for t in figure.data if t.name}
    assert set(traces) == {"infeasible", "dominated", "front", "parent", "parent, static int8"}
    assert len(traces["front"].x) == sum(t.role == "trial" for t in result.front_records)
    complete = result.trials.query("complete and role == 'trial'")
    assert sum(len(traces[name].x) for name in ("front", "dominated", "infeasible")) == len(complete)
    assert len(traces["infeasible"].x) == (~complete["feasible"]).sum()


def test_the_line_only_rises(result: StudyResult) -> None:
    line = next(t for t in plots.front(result, "size_mb", "accuracy").data if t.mode == "lines")
    assert list(line.x) == sorted(line.x)
    assert list(line.y) == sorted(line.y)


def test_every_pair_of_objectives_is_drawn(result: StudyResult) -> None:
    titles = {(f.layout.xaxis.title.text, f.layout.yaxis.title.text) for f in plots.front_pairs(result)}
    assert len(titles) == 3


def test_an_unknown_metric_is_refused(result: StudyResult) -> None:
    with pytest.raises(ValueError, match="did you mean 'size_mb'"):
        result.plot_front(x="size")


def test_hypervolume_is_drawn_over_trials_and_time(result: StudyResult) -> None:
    over_trials, over_time = plots.hypervolume(result).data
    assert over_trials.x[-1] == 48
    assert over_time.x[-1] == pytest.approx(result.hypervolume()["seconds"].iloc[-1] / 60)


def test_parallel_coordinates_hold_settings_and_objectives(result: StudyResult) -> None:
    labels = [d.label for d in plots.parallel_coordinates(result).data[0].dimensions]
    assert "training/lr" in labels
    assert labels[-3:] == ["accuracy", f"latency, ms ({TARGET})", "size, MB"]


def test_a_run_without_trials_can_be_drawn(tmp_path: Path) -> None:
    result = StudyResult(write_run(tmp_path / "run", FakeRun(STUDY, 0).events))
    figures = [*plots.front_pairs(result), plots.hypervolume(result), plots.parallel_coordinates(result)]
    assert all(figure.to_json() for figure in figures)
