from __future__ import annotations

import math

import numpy as np
import pytest
from cpu_time import cpu_seconds

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume, non_dominated
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.simulation import Problem, simulate
from raysearch.testing import GOALS, PARAMETERS, better, check_searcher

MIXED = (
    Parameter(("x",), "float", 0.0, 1.0),
    Parameter(("n",), "integer", 1, 16),
    Parameter(("c",), "categorical", choices=("p", "q", "r", "s")),
    Parameter(("lr",), "float", 1e-4, 1.0, log=True),
)
TWO = Goals.parse(["minimize f", "minimize g"])


def toy(config, step):
    """A front along x; the three others each have one best value."""
    off = abs(config["n"] - 11) / 15 + (config["c"] != "r") + abs(math.log10(config["lr"]) + 2) / 4
    return {"f": config["x"] + off, "g": (1 - config["x"]) ** 2 + off}


def run(make, trials, workers=4):
    return simulate(Problem(toy, last_step=1), make, FullTraining(), workers=workers, max_trials=trials)


def volume(simulation):
    points = [[r.values["f"], r.values["g"]] for r in simulation.reports]
    return hypervolume(points, [2.0, 2.0])


def test_it_keeps_the_contract():
    check_searcher(lambda parameters, goals: NSGA2(parameters, goals, seed=3, population=8))


def test_it_beats_random_search():
    ours = [volume(run(NSGA2(MIXED, TWO, seed=seed), 120)) for seed in range(10)]
    control = [volume(run(RandomSearch(MIXED, TWO, seed=seed), 120)) for seed in range(10)]
    assert better(ours, control) < 0.01


def test_golden_front_of_the_toy_problem():
    """A guard for refactors: a change of these figures is a decision, not an accident."""
    simulation = run(NSGA2(MIXED, TWO, seed=1), 120, workers=1)
    points = np.array([[r.values["f"], r.values["g"]] for r in simulation.reports])
    front = points[non_dominated(points, np.zeros(len(points)))]
    assert len(front) == 7
    assert volume(simulation) == pytest.approx(3.122639, abs=1e-6)


def test_no_config_is_asked_twice_and_a_small_space_is_used_up():
    searcher = NSGA2(PARAMETERS[:2], GOALS, population=4)
    seen = []
    for i in range(13):
        config = searcher.ask(str(i))
        seen.append(repr(config))
        searcher.tell(str(i), 10, {"accuracy": i / 20, "latency_ms/cpu": 0.5})
        searcher.end(str(i), "finished")
    assert len(set(seen[:12])) == 12
    assert seen[12] == "None"


def test_configs_of_the_same_key_are_asked_once():
    searcher = NSGA2(MIXED, TWO, identity=lambda config: (config["c"], {"c"}))
    asked = [searcher.ask(str(i)) for i in range(6)]
    assert {c["c"] for c in asked[:4] if c} == {"p", "q", "r", "s"}
    assert asked[4:] == [None, None]


def members(searcher):
    return searcher.state()["population"]


def tell(searcher, trial, values, outcome="finished", step=1):
    searcher.ask(trial)
    searcher.tell(trial, step, values)
    searcher.end(trial, outcome)


def test_a_stopped_trial_never_displaces_a_finished_one():
    searcher = NSGA2(MIXED, TWO, population=3)
    tell(searcher, "early", {"f": 0.0, "g": 0.0}, "stopped", step=1)
    tell(searcher, "later", {"f": 0.5, "g": 0.5}, "stopped", step=3)
    assert [m["level"] for m in members(searcher)] == [3, 1]
    for i in range(3):
        tell(searcher, str(i), {"f": 5.0 + i, "g": 5.0}, "finished", step=9)
        assert members(searcher)[0]["level"] == math.inf
    assert [m["level"] for m in members(searcher)] == [math.inf] * 3


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"f": 0.0, "g": 0.0}, "failed"),
        ({"f": 0.0}, "finished"),
        ({"f": 0.0, "g": math.nan}, "finished"),
        ({}, "stopped"),
    ],
)
def test_what_failed_has_no_children(values, outcome):
    searcher = NSGA2(MIXED, TWO)
    tell(searcher, "0", values, outcome)
    assert members(searcher) == []


def test_feasible_members_come_before_infeasible_ones():
    searcher = NSGA2(PARAMETERS, GOALS, population=2)
    for trial, latency in (("bad", 1.8), ("worse", 2.7), ("good", 0.5)):
        tell(searcher, trial, {"accuracy": 1 - latency / 9, "latency_ms/cpu": latency}, step=10)
    assert [m["violation"] for m in members(searcher)] == [0.0, pytest.approx(1.0)]


def test_a_trial_counts_with_the_latest_value_of_each_metric():
    searcher = NSGA2(MIXED, TWO)
    searcher.ask("0")
    searcher.tell("0", 0, {"g": 4.0})
    searcher.tell("0", 1, {"f": 3.0})
    searcher.tell("0", 2, {"f": 2.0})
    searcher.tell("0", 1, {"f": 9.0})
    searcher.end("0", "finished")
    assert members(searcher)[0]["costs"] == [2.0, 4.0]


def test_a_name_in_use_is_refused():
    searcher = NSGA2(MIXED, TWO)
    searcher.ask("0")
    with pytest.raises(ValueError, match="'0' was asked for already"):
        searcher.ask("0")


def test_a_population_that_cannot_breed_is_refused():
    with pytest.raises(ValueError, match="population is 1"):
        NSGA2(MIXED, TWO, population=1)


def test_infinite_costs_do_no_harm():
    searcher = NSGA2(MIXED, TWO, population=4)
    for i, odd in enumerate([math.inf, -math.inf, 1e308, 0.0, math.inf, 1.0]):
        tell(searcher, str(i), {"f": odd, "g": float(i)})
    assert all(searcher.ask(f"next{i}") for i in range(5))


def test_a_suggestion_stays_cheap_after_many_trials():
    searcher = NSGA2(MIXED, TWO)
    for i in range(400):
        config = searcher.ask(str(i))
        searcher.tell(str(i), 1, toy(config, 1))
        searcher.end(str(i), "finished")
    assert cpu_seconds(lambda: [searcher.ask(str(i)) for i in range(400, 440)]) / 40 < 0.1
