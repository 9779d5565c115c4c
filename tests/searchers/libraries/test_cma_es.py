from __future__ import annotations

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.random import RandomSearch
from raysearch.simulation import Problem, simulate
from raysearch.testing import better, check_searcher

pytest.importorskip("cma", reason="needs the extra cma")
from raysearch.searchers.libraries.cma_es import CMAES

NUMBERS = (
    Parameter(("x",), "float", 0.0, 1.0),
    Parameter(("n",), "integer", 1, 16),
    Parameter(("lr",), "float", 1e-4, 1.0, log=True),
    Parameter(("w", "d"), "float", 0.0, 1.0),
)
TWO = Goals.parse(["minimize f", "minimize g"])
ONE = Goals.parse(["minimize f"])


def toy(config, step):
    off = abs(config["n"] - 11) / 15 + abs(np.log10(config["lr"]) + 2) / 4 + abs(config["w"]["d"] - 0.3)
    return {"f": config["x"] + off, "g": (1 - config["x"]) ** 2 + off}


def points(searcher, trials=120):
    run = simulate(Problem(toy, 1), searcher, FullTraining(), workers=4, max_trials=trials)
    return [[r.values["f"], r.values["g"]] for r in run.reports]


def test_it_keeps_the_contract():
    check_searcher(lambda parameters, goals: CMAES(parameters, goals, seed=3), NUMBERS)


def test_it_beats_random_search():
    ours = [hypervolume(points(CMAES(NUMBERS, TWO, seed=seed)), [2.0, 2.0]) for seed in range(8)]
    control = [hypervolume(points(RandomSearch(NUMBERS, TWO, seed=s)), [2.0, 2.0]) for s in range(20)]
    assert better(ours, control) < 0.01


def test_one_objective_and_one_dimension_do_as_well():
    searcher = CMAES(NUMBERS[:1], ONE, seed=1)
    run = simulate(
        Problem(lambda c, s: {"f": abs(c["x"] - 0.7)}, 1), searcher, FullTraining(), workers=2, max_trials=60
    )
    assert min(r.values["f"] for r in run.reports) < 1e-3


def test_constraints_are_kept_in_the_end():
    goals = Goals.parse(["minimize f", "minimize g"], ["f <= 0.9"])
    late = [f for f, _ in points(CMAES(NUMBERS, goals, seed=2))][90:]
    assert np.mean(np.array(late) <= 0.9) > 0.4


def test_stopped_trials_stand_behind_finished_ones():
    searcher = CMAES(NUMBERS, ONE)
    inner = searcher._searcher
    for i, outcome in enumerate(["stopped", "finished", "stopped"]):
        searcher.ask(str(i))
        searcher.tell(str(i), 1 + i, {"f": float(i)})
        searcher.end(str(i), outcome)
    assert inner._order(inner._generation) == [1, 2, 0]


def test_it_leaves_numpys_own_generator_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    points(CMAES(NUMBERS, TWO), 20)
    assert np.random.get_state()[1].tolist() == before


def test_categories_are_refused():
    with pytest.raises(ValueError, match="cma_es cannot search op, which is categorical: use nsga2"):
        CMAES([Parameter(("op",), "categorical", choices=("a", "b"))], TWO)


def test_whole_generations_of_initial_configs_do_no_harm():
    initial = [{"x": i / 40, "n": 1 + i % 16, "lr": 1e-2, "w": {"d": 0.5}} for i in range(40)]
    searcher = CMAES(NUMBERS, TWO, seed=1, initial=initial)
    assert len(points(searcher, trials=45)) == 45
