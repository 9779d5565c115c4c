from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fake_run import STUDY, TARGET, FakeRun, make_events
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import record_of_figures

from raysearch import pareto
from raysearch.record.run_record import RunRecord
from raysearch.record.scores import (
    Scores,
    final_front,
    goals_of,
    is_complete,
    parent_units,
    reference_point,
    violation_of,
)


def record_of(events: list[dict[str, Any]]) -> RunRecord:
    record = RunRecord()
    for event in events:
        record.apply(event)
    return record


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 40))
def test_kept_up_to_date_is_the_same_as_computed_at_once(seed: int, trials: int) -> None:
    record = record_of(make_events(trials, seed=seed))
    scores, goals = Scores(record), goals_of(record)
    complete = [t for t in record.searched() if is_complete(t, goals)]
    values = [t.searched_values for t in complete]
    costs = np.array([goals.costs(v) for v in values]).reshape(-1, 3)
    violations = np.array([goals.violation(v, goals.last_step) for v in values])
    kept = pareto.non_dominated(costs, violations)
    assert {t.name for t in scores.front} == {t.name for t, keep in zip(complete, kept, strict=True) if keep}
    parent = record.trials["parent"].reports
    units = [
        parent_units(goals, v, {**parent[0], **parent[10]})
        for v, bad in zip(values, violations, strict=True)
        if not bad
    ]
    assert (
        math.isclose(
            scores.hypervolume,
            pareto.hypervolume(
                np.array(units), reference_point(record, goals, record.trials["parent"].searched_values)
            ),
            abs_tol=1e-9,
        )
        or not trials
    )


def test_the_hypervolume_is_unknown_before_the_parent_and_zero_before_a_trial() -> None:
    run = FakeRun(STUDY, 0)
    scores = Scores(record_of(run.events))
    assert math.isnan(scores.hypervolume)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 32, 1.0, end="failed", at=1)
    assert Scores(record_of(run.events)).hypervolume == 0.0


def test_stopped_failed_and_infeasible_trials_are_not_on_the_front() -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.9, end="stopped", at=3)
    run.trial("0001", "trial", 8, 0.9, end="failed", at=3)
    run.trial("0002", "trial", 2, 0.1)
    assert Scores(record_of(run.events)).front == []


def test_the_parent_is_on_the_final_front_unless_dominated() -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    record = record_of(run.events)
    assert [t.name for t in final_front(record, [])] == ["parent"]
    run.trial("0000", "trial", 8, 0.9)
    record = record_of(run.events)
    better = record.trials["0000"]
    better.reports[10]["accuracy"] = 0.999
    assert [t.name for t in final_front(record, [better])] == ["0000"]


def test_final_figures_decide_among_the_candidates() -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.9)
    run.trial("0001", "trial", 8, 0.9)
    record = record_of(run.events)
    first, second = record.trials["0000"], record.trials["0001"]
    for trial, latency in ((first, 0.2), (second, 0.1)):
        trial.reports[0][f"latency_ms/{TARGET}"] = latency
        trial.reports[0]["size_mb"] = 0.05
    first.reports[10]["accuracy"], second.reports[10]["accuracy"] = 0.99, 0.98
    assert {t.name for t in Scores(record).front} == {"0000", "0001"}
    first.final = {f"latency_ms/{TARGET}": 0.09}
    assert [t.name for t in final_front(record, Scores(record).front) if t.role == "trial"] == ["0000"]


def test_final_figures_are_judged_by_the_parents_final_figures() -> None:
    study = {**STUDY, "constraints": [f"latency_ms/{TARGET} <= 0.5 parent"]}
    run = FakeRun(study, 0)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("0000", "trial", 8, 0.9)
    run.trial("0001", "trial", 8, 0.9)
    record = record_of(run.events)
    parent, again, once = record.trials.values()
    parent.reports[0][f"latency_ms/{TARGET}"] = 0.4
    again.reports[0][f"latency_ms/{TARGET}"] = once.reports[0][f"latency_ms/{TARGET}"] = 0.19
    # The machine was a fifth slower when the front was measured again: 0.23 is still under half of 0.48.
    parent.final = {f"latency_ms/{TARGET}": 0.48}
    again.final = {f"latency_ms/{TARGET}": 0.23}
    assert violation_of(record, again) == violation_of(record, once) == 0
    once.reports[0][f"latency_ms/{TARGET}"] = 0.23
    assert violation_of(record, once) > 0
    assert again in final_front(record, [again])


METRICS = {"a": "", "b": "", "accuracy": "share"}
FIGURES = st.one_of(
    *(st.floats(-4, 4).map(lambda x, unit=unit: round(x, 1) * unit) for unit in (1e-4, 1.0, 1e5)),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf]),
)
TABLES = st.integers(1, 3).flatmap(
    lambda m: st.tuples(
        st.lists(st.booleans(), min_size=m, max_size=m),
        st.lists(st.lists(FIGURES, min_size=m, max_size=m), min_size=2, max_size=9),
    )
)


def record_of_table(maximize: list[bool], table: list[list[float]]) -> RunRecord:
    """The first row is the parent's."""
    goals = [
        f"{'maximize' if up else 'minimize'} {name}" for up, name in zip(maximize, METRICS, strict=False)
    ]
    parent, *trials = [dict(zip(METRICS, row, strict=False)) for row in table]
    return record_of_figures(goals, parent, trials, metrics=METRICS)


@settings(max_examples=300, deadline=None)
@given(TABLES)
def test_figures_of_any_sign_scale_and_direction(given: tuple[list[bool], list[list[float]]]) -> None:
    maximize, table = given
    record = record_of_table(maximize, table)
    scores = Scores(record)
    # The front, by brute force.
    signs = [-1 if up else 1 for up in maximize]
    costs = {f"{i:04d}": [s * v for s, v in zip(signs, row, strict=True)] for i, row in enumerate(table[1:])}
    known = {name: row for name, row in costs.items() if all(map(math.isfinite, row))}
    beaten = {
        name
        for name, row in known.items()
        for other in known.values()
        if other != row and all(o <= r for o, r in zip(other, row, strict=True))
    }
    assert {t.name for t in scores.front} == known.keys() - beaten
    # The hypervolume is known with the parent, never falls, and is positive once a trial is inside.
    reference = goals_of(record).reference
    assert math.isnan(scores.hypervolume) == (not reference) == (not all(map(math.isfinite, table[0])))
    if not reference:
        return
    limits = [s * limit for s, limit in zip(signs, reference.values(), strict=True)]
    inside = any(all(c < limit for c, limit in zip(row, limits, strict=True)) for row in known.values())
    assert (scores.hypervolume > 0) == inside
    volumes = [Scores(record_of_table(maximize, table[: i + 1])).hypervolume for i in range(1, len(table))]
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(volumes))


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.floats(-100, 100).map(lambda x: round(x, 2)))
def test_a_trial_as_good_as_the_parent_counts_whatever_the_sign(maximize: bool, figure: float) -> None:
    record = record_of_table([maximize], [[figure], [figure]])
    assert Scores(record).hypervolume > 0


def test_the_reference_is_worse_than_the_parent() -> None:
    up = goals_of(record_of_table([True] * 3, [[-2.0, 4.0, 0.9]])).reference
    assert up == {"a": -4.0, "b": 0.0, "accuracy": pytest.approx(0.81)}
    down = goals_of(record_of_table([False] * 3, [[-2.0, 4.0, 0.0]])).reference
    assert down == {"a": 0.0, "b": 8.0, "accuracy": pytest.approx(0.1)}


def test_what_0_1_0_showed_of_accuracy_latency_and_size() -> None:
    assert Scores(record_of(make_events())).hypervolume == pytest.approx(0.10288109288579877)


def test_a_parent_without_a_finite_figure_is_not_on_the_front() -> None:
    record = record_of_figures(["minimize a"], {"a": -math.inf}, [{"a": 1.0}], metrics={"a": ""})
    assert [t.name for t in final_front(record, Scores(record).front)] == ["0000"]


def test_limits_are_read_from_the_end_of_a_parent_that_was_trained_for_longer() -> None:
    study = {
        "objectives": ["maximize accuracy"],
        "constraints": ["accuracy >= parent - 0.1"],
        "search": {"epochs": 2},
    }
    head = {"trial": "parent", "role": "reference", "config": {}, "key": "k", "origin": "reference"}
    curve = {0: 0.1, 1: 0.5, 2: 0.7, 3: 0.3, 4: 0.8, 9: 0.9}  # step 3 is in the middle of its training
    events: list[dict[str, Any]] = [
        {"event": "run", "time": 0.0, "study": study, "metrics": {"accuracy": "share"}},
        {"event": "suggestion", "time": 1.0, **head},
        *(
            {"event": "report", "time": 2.0, "trial": "parent", "step": step, "values": {"accuracy": value}}
            for step, value in curve.items()
        ),
        {"event": "end", "time": 3.0, "trial": "parent", "outcome": "finished"},
    ]
    goals = goals_of(record_of(events))
    assert goals.limits(3) == pytest.approx([0.8])
    assert goals.limits(2) == pytest.approx([0.6])
    assert goals.violation({"accuracy": 0.5}, 3) > 0
    assert goals.reference["accuracy"] == pytest.approx(0.81)
    # Trials start from the parent's weights: once it was trained on, they are compared with that.
    head = {"trial": "parent-longer", "time": 4.0}
    asked = {"role": "reference", "config": {}, "key": "l", "origin": "reference"}
    longer = {0: 0.9, 1: 0.85, 2: 0.91, 3: 0.92}
    events += [
        {"event": "suggestion", **head, **asked},
        *({"event": "report", **head, "step": s, "values": {"accuracy": v}} for s, v in longer.items()),
    ]
    assert goals_of(record_of(events)).limits(2) == pytest.approx([0.6])
    events += [{"event": "end", **head, "outcome": "finished"}]
    goals = goals_of(record_of(events))
    assert [goals.limits(step)[0] for step in (1, 2, 3)] == pytest.approx([0.75, 0.81, 0.8])
