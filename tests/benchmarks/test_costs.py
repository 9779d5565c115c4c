"""The benchmarks of what the search costs, at toy sizes."""

from __future__ import annotations

import pytest

from benchmarks.decision_cost import decision_ms, default_of, study_space, suggestion_ms, variant_ms
from benchmarks.driver_cost import LEAN, NoOp
from benchmarks.large_cluster import measure
from raysearch.schedulers import SCHEDULERS
from raysearch.searchers import SEARCHERS


def test_a_decision_and_a_suggestion_are_timed():
    for scheduler in SCHEDULERS:
        assert 0 < decision_ms(scheduler, 30, newcomers=5) < 1000
    assert default_of("searcher") in SEARCHERS
    assert 0 < suggestion_ms("nsga2", 30, blocks=2, block=3) < 1000
    assert 0 < suggestion_ms("nsga2", 30, blocks=2, block=3, study=study_space()) < 1000


def test_a_variant_that_is_remembered_costs_a_fraction():
    first, again = variant_ms(100)
    assert 0 < again < first / 5 < 10


def test_no_worker_of_a_cluster_waits():
    figures = measure("random", trials=300, workers=30, seed=2)
    assert figures["idle_share"] == figures["unanswered"] == 0
    assert figures["reports"] > 300
    assert 0 < figures["decision_ms"] < 1000


def test_the_no_op_trial_reports_once_and_takes_another_config():
    trial = NoOp({"width": 8, "depth": 2, "lr": 1e-2})
    assert trial.step() == {"error": pytest.approx(1 / 16), "size": 16, "done": True}
    assert trial.reset_config({"width": 64, "depth": 8, "lr": 1e-2})
    assert trial.step()["size"] == 512
    assert LEAN["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] == "1"
