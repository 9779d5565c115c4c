from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import pytest
from fake_run import (
    ACCURACY,
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

from raysearch.reporting import plots
from raysearch.results import StudyResult


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


def line_of(figure: go.Figure) -> go.Scatter:
    return next(t for t in figure.data if t.mode == "lines")


def with_metric(tmp_path: Path, quality: Quality) -> StudyResult:
    return StudyResult(write_run(tmp_path / quality.name, make_events(quality=quality)))


@pytest.mark.parametrize("quality", [ACCURACY, RMSE, LIKELIHOOD])
def test_the_line_goes_by_the_objectives_directions(tmp_path: Path, quality: Quality) -> None:
    result = with_metric(tmp_path, quality)
    line = line_of(plots.front(result, "size_mb", quality.name))
    assert len(line.x) > 2
    assert list(line.x) == sorted(line.x)  # a larger network is a better one
    assert list(line.y) == sorted(line.y, reverse=quality is RMSE)
    across = line_of(plots.front(result, quality.name, "size_mb"))
    assert set(zip(across.y, across.x, strict=True)) == set(zip(line.x, line.y, strict=True))


def test_only_shares_are_in_per_cent(tmp_path: Path) -> None:
    for quality, form in ((ACCURACY, ".1%"), (RMSE, None), (LIKELIHOOD, None)):
        axis = plots.front(with_metric(tmp_path, quality), "size_mb", quality.name).layout.yaxis
        assert (axis.tickformat, axis.type) == (form, None)
    # An RMSE of .35 is no 35 %, and an accuracy that a task gives in per cent is no share.
    for name in ("rmse", "accuracy"):
        low = with_metric(tmp_path, Quality(name, "", 1.33, -1.0))
        axis = plots.front(low, "size_mb", name).layout.yaxis
        assert axis.tickformat is None
        assert 0 < axis.range[0] < axis.range[1] < 1


@pytest.mark.parametrize("quality", [RMSE, LIKELIHOOD])
def test_an_axis_has_more_room_where_it_is_worse(tmp_path: Path, quality: Quality) -> None:
    result = with_metric(tmp_path, quality)
    shown = [t.values[quality.name] for t in result.record.trials.values() if t.role == "reference"]
    shown += [t.values[quality.name] for t in result.front_records]
    low, high = plots.front(result, "size_mb", quality.name).layout.yaxis.range
    assert low < min(shown) < max(shown) < high
    below, above = min(shown) - low, high - max(shown)
    assert (below > above) == (quality is LIKELIHOOD)


def test_an_axis_is_logarithmic_only_over_positive_values(result: StudyResult) -> None:
    assert plots.front(result, "macs", "accuracy").layout.xaxis.type == "log"
    result.record.trials["parent"].reports[0]["macs"] = 0.0
    assert plots.front(result, "macs", "accuracy").layout.xaxis.type is None


def test_a_metric_whose_direction_nothing_says_has_no_line(tmp_path: Path) -> None:
    study = study_of(RMSE, objectives=[f"minimize latency_ms/{TARGET}", "minimize size_mb"])
    events = make_events(quality=RMSE, study=study)
    result = StudyResult(write_run(tmp_path / "run", events))
    assert len(line_of(plots.front(result, "size_mb", "rmse")).x) == 0
    limited = study_of(RMSE, objectives=study["objectives"], constraints=["rmse <= 1e9"])
    result = StudyResult(write_run(tmp_path / "limited", make_events(quality=RMSE, study=limited)))
    assert len(line_of(plots.front(result, "size_mb", "rmse")).x) > 0


@pytest.mark.parametrize(("quality", "reversed_scale"), [(RMSE, True), (LIKELIHOOD, False)])
def test_darker_is_better(tmp_path: Path, quality: Quality, reversed_scale: bool) -> None:
    lines = plots.parallel_coordinates(with_metric(tmp_path, quality)).data[0]
    assert bool(lines.line.reversescale) == reversed_scale
    assert lines.dimensions[-3].label == quality.name


@pytest.mark.parametrize(
    ("objective", "across"), [("minimize size_mb", "rmse"), ("minimize rmse", "size, MB")]
)
def test_a_single_objective_is_drawn(tmp_path: Path, objective: str, across: str) -> None:
    study = study_of(RMSE, objectives=[objective])
    result = StudyResult(write_run(tmp_path / "run", make_events(quality=RMSE, study=study)))
    (figure,) = plots.front_pairs(result)
    assert figure.layout.xaxis.title.text == across
