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


def waiting_for(searcher, count, quality, latency):
    """Trials that wait after step 0, as good before training as ``quality`` says."""
    for i in range(count):
        searcher.ask(f"w{i}")
        searcher.tell(f"w{i}", 0, {"f": quality(i), "latency_ms": latency(i)})


def halfway(trials):
    """A searcher whose trials came out half as bad as they began, whatever their config."""
    searcher, rng = ModelBased(MIXED, TWO, startup=4), np.random.default_rng(0)
    for i in range(trials):
        searcher.ask(str(i))
        begun, latency = rng.uniform(1, 2, 2)
        searcher.tell(str(i), 0, {"f": begun, "latency_ms": latency})
        searcher.tell(str(i), 9, {"f": begun / 2, "latency_ms": latency})
        searcher.end(str(i), "finished")
    return searcher


def test_of_those_that_wait_the_fastest_is_chosen_where_all_began_alike():
    searcher = halfway(16)
    waiting_for(searcher, 6, quality=lambda i: 1.2, latency=lambda i: [1.05, 1.02, 0.9, 1.1, 1.2, 1.8][i])
    assert searcher.choose([f"w{i}" for i in range(6)]) == "w2"
    assert searcher.choose(["w0", "w1"]) == "w1"


def test_of_those_that_wait_the_one_that_began_best_is_chosen_where_all_are_as_fast():
    searcher = halfway(16)
    waiting_for(searcher, 6, quality=lambda i: [1.9, 1.8, 1.85, 0.9, 1.7, 1.95][i], latency=lambda i: 1.0)
    assert searcher.choose([f"w{i}" for i in range(6)]) == "w3"


def test_trials_that_wait_at_several_steps_are_compared():
    searcher = halfway(16)
    waiting_for(searcher, 3, quality=lambda i: 1.5, latency=lambda i: [1.5, 1.5, 0.7][i])
    searcher.tell("w0", 3, {"f": 1.4, "latency_ms": 1.5})
    assert searcher.choose(["w0", "w1", "w2"]) == "w2"


def test_while_too_little_is_known_nobody_is_chosen():
    searcher = halfway(3)
    waiting_for(searcher, 2, quality=lambda i: 1.0, latency=lambda i: 1.0)
    assert searcher.choose(["w0", "w1"]) is None
    assert halfway(8).choose(["never asked for"]) is None


def test_where_none_promises_a_gain_nobody_is_chosen():
    searcher = halfway(16)
    waiting_for(searcher, 2, quality=lambda i: 1.9, latency=lambda i: 50.0)
    assert searcher.choose(["w0", "w1"]) is None


def test_a_choice_survives_a_state():
    searcher = halfway(12)
    waiting_for(searcher, 5, quality=lambda i: 1 + i / 10, latency=lambda i: 2 - i / 10)
    resumed = ModelBased(MIXED, TWO, startup=4)
    resumed.load(json.loads(json.dumps(searcher.state())))
    names = [f"w{i}" for i in range(5)]
    assert searcher.choose(names) == resumed.choose(names)
    assert searcher.ask("next") == resumed.ask("next")
