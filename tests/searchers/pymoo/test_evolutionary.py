from __future__ import annotations

import math

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.pymoo.algorithms import ALGORITHMS, directions
from raysearch.searchers.pymoo.evolutionary import Evolutionary
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


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    if request.param.startswith("agemoea"):
        pytest.importorskip("numba", reason="needs the extra agemoea")
    return request.param


def toy(config, step):
    off = abs(config["n"] - 11) / 15 + (config["c"] != "r") + abs(math.log10(config["lr"]) + 2) / 4
    return {"f": config["x"] + off, "g": (1 - config["x"]) ** 2 + off, "h": config["n"] / 16 + off}


def run(searcher, trials, workers=4):
    return simulate(Problem(toy, 1), searcher, FullTraining(), workers=workers, max_trials=trials)


def volume(searcher, trials):
    points = [[r.values["f"], r.values["g"]] for r in run(searcher, trials).reports]
    return hypervolume(points, [2.0, 2.0])


def test_it_keeps_the_contract(algorithm):
    def make(parameters, goals):
        if algorithm == "moead" or len(goals.objectives) < 2:  # what it refuses
            goals = Goals(GOALS.objectives, last_step=10)
        return Evolutionary(parameters, goals, algorithm=algorithm, population=6, seed=3)

    check_searcher(make)


def test_it_beats_random_search(algorithm):
    trials = 300 if algorithm == "moead" else 160  # decomposition is slow to start
    ours = [
        volume(Evolutionary(MIXED, TWO, algorithm=algorithm, population=10, seed=seed), trials)
        for seed in range(5)
    ]
    control = [volume(RandomSearch(MIXED, TWO, seed=seed), trials) for seed in range(20)]
    assert better(ours, control) < 0.05


def test_three_objectives_and_a_constraint(algorithm):
    limits = [] if algorithm == "moead" else ["h <= 0.7"]
    goals = Goals.parse(["minimize f", "minimize g", "minimize h"], limits)
    found = run(Evolutionary(MIXED, goals, algorithm=algorithm, population=10), 120)
    violations = [goals.violation(r.values, 1) for r in found.reports]
    if limits:
        assert np.median(violations[80:]) < 0.5 * np.median(violations[:40])
    else:
        assert len(violations) == 120


def test_no_worker_waits_and_a_small_space_is_used_up(algorithm):
    searcher = Evolutionary(PARAMETERS[:2], TWO, algorithm=algorithm, population=4)
    seen = []
    for i in range(13):
        seen.append(repr(searcher.ask(str(i))))
        searcher.tell(str(i), 1, {"f": i % 5, "g": -i % 3})
        if i > 2:
            searcher.end(str(i), "finished")
    assert len(set(seen[:12])) == 12
    assert seen[12] == "None"


def test_stopped_trials_breed_only_until_enough_have_finished():
    searcher = Evolutionary(MIXED, TWO, algorithm="smsemoa", population=4)
    inner = searcher._searcher
    for i in range(12):
        searcher.ask(str(i))
        searcher.tell(str(i), i, {"f": float(i), "g": 1.0})
        searcher.end(str(i), "stopped" if i < 8 else "finished")
    assert list(inner._algorithm.pop[0].F) == [8.0, 1.0]
    searcher.ask("late")
    searcher.tell("late", 1, {"f": -9.0, "g": -9.0})
    searcher.end("late", "stopped")
    assert min(m.F[0] for m in inner._algorithm.pop) == 8.0


@pytest.mark.parametrize(
    ("objectives", "population", "count"), [(2, 20, 20), (3, 20, 15), (3, 21, 21), (5, 20, 15), (8, 8, 8)]
)
def test_directions_fit_into_the_population(objectives, population, count):
    assert directions(objectives, population).shape == (count, objectives)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "nsga33"}, "algorithm 'nsga33' is unknown"),
        ({"population": 3}, "population is 3: nsga3 needs at least 4"),
        ({"goals": Goals.parse(["minimize f"])}, "nsga3 is for two objectives or more"),
        (
            {"algorithm": "moead", "goals": Goals.parse(["minimize f", "minimize g"], ["f <= 1"])},
            "moead cannot handle constraints: use ctaea",
        ),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    goals = options.pop("goals", TWO)
    with pytest.raises(ValueError, match=message):
        Evolutionary(MIXED, goals, **options)
