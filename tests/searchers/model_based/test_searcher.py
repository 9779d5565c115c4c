from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cpu_time import cpu_seconds

from raysearch.objectives import Goals
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.model_based import ModelBased
from raysearch.searchers.random import RandomSearch
from raysearch.testing import CONDITIONAL, ZDT1, check_searcher, check_searcher_options, compare

MIXED = (
    Parameter(("x",), "float", 0.0, 1.0),
    Parameter(("n",), "integer", 1, 16),
    Parameter(("c",), "categorical", choices=("p", "q", "r", "s")),
)
TWO = Goals.parse(["minimize f", "minimize latency_ms"], last_step=9)


def test_it_keeps_the_contract():
    check_searcher(lambda parameters, goals: ModelBased(parameters, goals, seed=3, startup=6))


def test_it_takes_initial_configs_and_an_identity():
    check_searcher_options(lambda p, goals, **options: ModelBased(p, goals, seed=3, startup=3, **options))


@pytest.mark.parametrize("toy", [ZDT1, CONDITIONAL], ids=["continuous", "conditional"])
def test_it_beats_random_search(toy):
    def ours(toy, seed):
        return ModelBased(toy.parameters, toy.goals, seed=seed, identity=toy.identity), FullTraining()

    def control(toy, seed):
        return RandomSearch(toy.parameters, toy.goals, seed=seed, identity=toy.identity), FullTraining()

    assert compare(ours, control, toy, budget=32, seeds=5, workers=3).p < 0.01


def told(trials, **values):
    searcher = ModelBased(MIXED, TWO, startup=4)
    for i in range(trials):
        config = searcher.ask(str(i))
        searcher.tell(str(i), 9, {"f": config["x"] + config["n"], "latency_ms": 1 - config["x"], **values})
        searcher.end(str(i), "finished")
    return searcher


def test_a_state_in_the_middle_goes_on_exactly_with_trials_under_way():
    searcher = told(12)
    asked = [searcher.ask(f"running{i}") for i in range(3)]
    resumed = ModelBased(MIXED, TWO, startup=4)
    resumed.load(json.loads(json.dumps(searcher.state())))
    later = [[s.ask(f"later{i}") for i in range(4)] for s in (searcher, resumed)]
    assert later[0] == later[1]
    assert all(config not in asked for config in later[0])


def test_three_objectives_and_an_infeasible_start_are_borne():
    goals = Goals.parse(["minimize f", "minimize g", "minimize h"], ["f <= 0.2"])
    searcher = ModelBased(MIXED, goals, startup=4)
    for i in range(30):
        config = searcher.ask(str(i))
        values = {"f": config["x"], "g": 1 - config["x"], "h": abs(config["n"] - 5)}
        if i < 8:
            values["f"] += 0.2
        searcher.tell(str(i), 1, values)
        searcher.end(str(i), "finished")
    assert np.mean([searcher.ask(f"next{i}")["x"] <= 0.25 for i in range(8)]) > 0.5


def test_a_trial_that_failed_teaches_nothing():
    searcher = told(3)
    searcher.ask("bad")
    searcher.tell("bad", 9, {"f": -math.inf, "latency_ms": 0.0})
    searcher.end("bad", "failed")
    assert "bad" not in searcher.state()["trials"]


def test_a_name_in_use_and_a_start_too_short_are_refused():
    searcher = told(2)
    searcher.ask("a")
    with pytest.raises(ValueError, match="'a' was asked for already"):
        searcher.ask("a")
    with pytest.raises(ValueError, match="startup is 1"):
        ModelBased(MIXED, TWO, startup=1)


def test_a_suggestion_stays_cheap_after_many_trials():
    searcher = ModelBased(MIXED, TWO, startup=600)
    rng = np.random.default_rng(0)
    for i in range(600):
        searcher.ask(str(i))
        searcher.tell(str(i), 9, {"f": float(rng.random()), "latency_ms": float(rng.random())})
        searcher.end(str(i), "finished")
    assert cpu_seconds(lambda: [searcher.ask(f"next{i}") for i in range(10)]) / 10 < 0.3


@pytest.mark.parametrize("huge", [1e160, 1.7e308])
def test_a_figure_too_large_to_compute_with_counts_as_not_known(huge):
    searcher = told(4, f=huge)
    for i in range(4, 12):
        config = searcher.ask(str(i))
        searcher.tell(str(i), 9, {"f": config["x"], "latency_ms": 1 - config["x"]})
        searcher.end(str(i), "finished")
    assert searcher.ask("next")
