"""The benchmarks ``joint`` and ``constrained``, at toy sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from benchmarks import constrained, joint
from benchmarks.search import EDGES
from raysearch.pareto import hypervolume


@pytest.fixture(scope="module")
def pair():
    table = pd.DataFrame(list(itertools.product("abc", repeat=6)), columns=list(EDGES))
    rng = np.random.default_rng(0)
    table["full"] = rng.random(len(table)) * 100
    table["short"] = table["full"] - 10 * rng.random(len(table))
    table["latency_ms/board"] = table["full"] / 100 + 0.1 * rng.random(len(table))  # a wide front
    return joint.Pair(table, "short", "full", "board")


def test_both_problems_end_at_the_measured_error(pair):
    config = dict.fromkeys(EDGES, "b")
    error, latency = pair.costs[pair.row(config)]
    for problem in (pair.full(), pair.measured(), pair.curves()):
        assert problem.values(config, problem.last_step) == {"error": error, "latency": latency}
    assert sum(pair.measured().cost(config, step) for step in (1, 2)) == 212
    assert sum(pair.curves().cost(config, step) for step in range(1, 28)) == pytest.approx(200)
    assert pair.curves().values(config, 3) == pair.curves().values(config, 3)


def test_finished_trials_alone_count(pair, monkeypatch):
    monkeypatch.setattr(joint, "BUDGETS", (200, 2_000, 5_000))
    full = joint.shares(pair, pair.full(), ("random", "full_training"), seed=0)
    assert 0 <= full[0] <= full[1] <= full[2] <= 1
    assert full[2] > 0
    halved = joint.shares(pair, pair.measured(), ("nsga2", "successive_halving"), seed=0)
    assert halved[0] == 0  # four workers spend 48 on the short trainings, then 200 each
    assert 0 < halved[2] <= 1


def test_the_known_fronts_are_feasible_and_unbeaten():
    for name in constrained.PROBLEMS:
        known = constrained.Known.of(name)
        assert known.front.shape[1] == known.problem.n_obj
        assert len(known.goals.constraints) == known.problem.n_ieq_constr
        rng = np.random.default_rng(0)
        points = rng.uniform(known.problem.xl, known.problem.xu, (2000, known.problem.n_var))
        found = known.problem.evaluate(points, return_as_dictionary=True)
        feasible = found["F"][(found["G"] <= 0).all(axis=1)]
        reference = known.front.max(axis=0) * 1.1 + 0.1
        assert hypervolume(feasible, reference) < hypervolume(known.front, reference)


def test_ratio_and_feasible_share_are_counted(monkeypatch):
    monkeypatch.setattr(constrained, "BUDGETS", (10, 30))
    ratios, feasible = constrained.shares(constrained.Known.of("c2dtlz2"), "random", seed=1)
    assert 0 <= ratios[0] <= ratios[1] <= 1
    assert ((feasible >= 0) & (feasible <= 1)).all()
