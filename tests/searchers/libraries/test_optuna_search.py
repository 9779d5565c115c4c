from __future__ import annotations

import pytest

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.random import RandomSearch
from raysearch.simulation import Problem, simulate
from raysearch.testing import GOALS, PARAMETERS, better, check_searcher

pytest.importorskip("optuna", reason="needs the extra optuna")
from raysearch.searchers.libraries.optuna_search import SAMPLERS, OptunaSampler

TWO = Goals.parse(["minimize f", "minimize g"])
SPACE = (
    Parameter(("x", "y"), "float", 0.0, 1.0),
    Parameter(("n",), "integer", 1, 16),
    Parameter(("c",), "categorical", choices=([1, 2], None, "r")),
)


def toy(config, step):
    x, off = config["x"]["y"], abs(config["n"] - 11) / 15 + (config["c"] != "r")
    return {"f": x + off, "g": (1 - x) ** 2 + off}


def volume(searcher):
    run = simulate(Problem(toy, 1), searcher, FullTraining(), workers=4, max_trials=40)
    return hypervolume([[r.values["f"], r.values["g"]] for r in run.reports], [2.0, 2.0])


def test_it_keeps_the_contract():
    check_searcher(lambda parameters, goals: OptunaSampler(parameters, goals, sampler="nsga2", seed=3))


def test_tpe_learns_constraints_and_goes_on_from_its_state():
    goals = Goals.parse(["minimize f", "minimize g"], ["f <= 0.5"])
    first, second = (OptunaSampler(SPACE, goals, seed=1) for _ in range(2))
    simulate(Problem(toy, 1), first, FullTraining(), workers=3, max_trials=20)
    second.load(first.state())
    assert [second.ask(str(i)) for i in range(30, 33)] == [first.ask(str(i)) for i in range(30, 33)]


def test_every_sampler_is_optunas():
    import optuna

    assert all(hasattr(optuna.samplers, name) for name in SAMPLERS.values())


def test_tpe_beats_random_search():
    ours = [volume(OptunaSampler(SPACE, TWO, seed=seed)) for seed in range(5)]
    control = [volume(RandomSearch(SPACE, TWO, seed=seed)) for seed in range(20)]
    assert better(ours, control) < 0.01


def test_initial_configs_come_first_and_may_be_partial():
    searcher = OptunaSampler(SPACE, TWO, initial=[{"n": 3, "c": [1, 2], "x": {"y": 0.25}}, {"n": 4}])
    first, second = searcher.ask("0"), searcher.ask("1")
    assert first == {"n": 3, "c": [1, 2], "x": {"y": pytest.approx(0.25)}}
    assert second["n"] == 4


def test_no_variant_is_suggested_twice_and_a_small_space_is_used_up():
    searcher = OptunaSampler(PARAMETERS[:2], GOALS)
    seen = []
    for i in range(13):
        seen.append(searcher.ask(str(i)))
        searcher.tell(str(i), 10, {"accuracy": 0.5, "latency_ms/cpu": 0.5})
        searcher.end(str(i), "finished")
    assert len({repr(c) for c in seen[:12]}) == 12
    assert seen[12] is None


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="sampler 'tpee' is unknown; did you mean 'tpe'"):
        OptunaSampler(SPACE, TWO, sampler="tpee")
