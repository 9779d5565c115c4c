from __future__ import annotations

import numpy as np
import pytest

from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.encoding import Encoding
from raysearch.searchers.fixed import FixedList
from raysearch.searchers.random import RandomSearch
from raysearch.simulation import simulate
from raysearch.testing import CONDITIONAL, CURVES, ZDT1, merit
from raysearch.testing.toys import costs_of


def test_the_front_of_zdt1_is_where_it_should_be():
    config = {f"x{i}": 0.25 if i == 0 else 0.0 for i in range(6)}
    assert ZDT1.problem.values(config, 1) == {"f1": 0.25, "f2": 0.5}


def test_inactive_parameters_change_nothing():
    rng = np.random.default_rng(0)
    encoding = Encoding(CONDITIONAL.parameters)
    for _ in range(50):
        config = encoding.decode(encoding.sample(rng))
        other = {**config, "branch": {"kernel": 1 if config["branch"]["kernel"] > 1 else 9}}
        same = CONDITIONAL.identity(config) == CONDITIONAL.identity(other)
        assert same == (config["block"] != "branched")
        if same:
            assert CONDITIONAL.problem.values(config, 1) == CONDITIONAL.problem.values(other, 1)


def test_curves_cross():
    small, large = {"size": 0.1, "rate": 0.3}, {"size": 0.9, "rate": 0.3}
    errors = {step: [CURVES.problem.values(c, step)["error"] for c in (small, large)] for step in (1, 27)}
    assert errors[1][0] < errors[1][1]
    assert errors[27][0] > errors[27][1]


def test_merit_counts_feasible_trials_with_their_latest_report():
    configs = [{"size": 0.5, "rate": 0.3}]
    run = simulate(CURVES.problem, FixedList(configs), FullTraining(), max_trials=1)
    last = CURVES.problem.values(configs[0], 27)["error"]
    assert costs_of(CURVES, run).tolist() == [[last, 0.5]]
    assert merit(CURVES, run) == pytest.approx((1 - last) * 0.6)
    slow = {"block": "plain", "width": 64, "lr": 1e-2, "branch": {"kernel": 1}}
    run = simulate(CONDITIONAL.problem, FixedList([slow]), FullTraining(), max_trials=1)
    assert merit(CONDITIONAL, run) == 0


def test_an_empty_run_has_no_merit():
    run = simulate(ZDT1.problem, RandomSearch(ZDT1.parameters, ZDT1.goals), FullTraining(), max_cost=0)
    assert merit(ZDT1, run) == 0
