from __future__ import annotations

import math

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.random import RandomSearch
from raysearch.testing import check_searcher

pytest.importorskip("botorch", reason="needs the extra botorch")
from raysearch.searchers.libraries.qlognehvi import QLogNEHVI

MIXED = (
    Parameter(("x",), "float", 0.0, 1.0),
    Parameter(("n",), "integer", 1, 16),
    Parameter(("c",), "categorical", choices=("p", "q", "r", "s")),
)
TWO = Goals.parse(["minimize f", "minimize g"])


def toy(config):
    off = abs(config["n"] - 11) / 15 + (config["c"] != "r")
    return {"f": config["x"] + off, "g": (1 - config["x"]) ** 2 + off}


def run(searcher, trials, values=toy):
    points = []
    for i in range(trials):
        points.append(values(searcher.ask(str(i))))
        searcher.tell(str(i), 1, points[-1])
        searcher.end(str(i), "finished")
    return points


def volume(points):
    return hypervolume([[p["f"], p["g"]] for p in points], [2.0, 2.0])


def test_it_keeps_the_contract_before_there_is_a_model():
    check_searcher(lambda parameters, goals: QLogNEHVI(parameters, goals, seed=3, design=99))


def test_the_model_beats_random_search():
    ours = volume(run(QLogNEHVI(MIXED, TWO, design=8), 15))
    control = [volume(run(RandomSearch(MIXED, TWO, seed=seed), 15)) for seed in range(20)]
    assert ours > np.quantile(control, 0.8)


def test_its_state_goes_on_exactly_with_trials_in_flight():
    first, second = (QLogNEHVI(MIXED, TWO, seed=2, design=4) for _ in range(2))
    run(first, 5)
    first.ask("pending")
    second.load(first.state())
    assert second.ask("next") == first.ask("next")


def test_constraints_are_learnt():
    goals = Goals.parse(["minimize f", "minimize g"], ["h <= 0.5", "h >= parent"])
    points = run(QLogNEHVI(MIXED, goals, design=8), 11, lambda c: {**toy(c), "h": c["x"]})
    assert all(p["h"] <= 0.6 for p in points[-3:])


def test_what_did_not_finish_or_is_not_finite_teaches_nothing():
    searcher = QLogNEHVI(MIXED, TWO, design=2)
    for i, (value, outcome) in enumerate([(1.0, "stopped"), (math.inf, "finished"), (1.0, "failed")]):
        searcher.ask(str(i))
        searcher.tell(str(i), 1, {"f": value, "g": 1.0})
        searcher.end(str(i), outcome)
    assert searcher.state()["vectors"] == []
    assert searcher.ask("next") is not None


def test_a_design_too_small_is_refused():
    with pytest.raises(ValueError, match="design is 1"):
        QLogNEHVI(MIXED, TWO, design=1)
