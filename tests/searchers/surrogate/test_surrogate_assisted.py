import json

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.random import RandomSearch
from raysearch.searchers.surrogate.surrogate_assisted import SurrogateAssisted
from raysearch.testing import better, check_searcher

SPACE = tuple(Parameter((name,), "float", low=0.0, high=1.0) for name in "abcd")
GOALS = Goals.parse(["minimize f", "minimize g"], ["h <= 0.3"])
QUICK = {"population": 8, "generations": 4, "candidates": ("knn",), "initial_designs": 10}


def values_of(config):
    """A convex front at b = 0.5, c = 0.2; d too large breaks the constraint."""
    away = abs(config["b"] - 0.5) + abs(config["c"] - 0.2)
    return {"f": config["a"] + away, "g": (1 - config["a"]) ** 2 + away, "h": config["d"]}


def evaluate(searcher, trial, config, outcome="finished"):
    searcher.tell(trial, 1, values_of(config))
    searcher.end(trial, outcome)


def merit(searcher, budget):
    found = []
    for i in range(budget):
        config = searcher.ask(str(i))
        evaluate(searcher, str(i), config)
        values = values_of(config)
        if values["h"] <= 0.3:
            found.append((values["f"], values["g"]))
    return hypervolume(np.array(found), [1.5, 1.5])


@pytest.mark.parametrize("candidates", [("knn",), ("knn", "lightgbm")])
def test_contract(candidates):
    if "lightgbm" in candidates:
        pytest.importorskip("lightgbm", reason="the extra surrogates brings lightgbm")
    options = {**QUICK, "candidates": candidates, "objectives_by": "mse", "constraints_by": "spearman"}
    check_searcher(lambda parameters, goals: SurrogateAssisted(parameters, goals, **options))


def test_it_beats_random_search():
    options = {**QUICK, "population": 12, "generations": 10, "initial_designs": 20}
    ours = [merit(SurrogateAssisted(SPACE, GOALS, seed=s, **options), 44) for s in range(5)]
    assert better(ours, [merit(RandomSearch(SPACE, GOALS, seed=s), 44) for s in range(5)]) < 0.05


def count_fits(monkeypatch):
    fits = []
    from raysearch.searchers.surrogate import surrogate_assisted

    real = surrogate_assisted.learn

    def counted(goals, inputs, points, *rest):
        fits.append(len(points))
        return real(goals, inputs, points, *rest)

    monkeypatch.setattr(surrogate_assisted, "learn", counted)
    return fits


def test_one_after_another_it_learns_again_after_every_pair(monkeypatch):
    fits = count_fits(monkeypatch)
    merit(SurrogateAssisted(SPACE, GOALS, **QUICK), 16)
    assert fits == [10, 12, 14]


def test_many_workers_never_wait_and_get_different_designs(monkeypatch):
    fits = count_fits(monkeypatch)
    searcher = SurrogateAssisted(SPACE, GOALS, **QUICK)
    for i in range(10):
        evaluate(searcher, f"first{i}", searcher.ask(f"first{i}"))
    pending = [searcher.ask(str(i)) for i in range(30)]
    assert fits == [10]
    assert None not in pending
    assert len({json.dumps(config) for config in pending}) == 30
    evaluate(searcher, "0", pending[0])
    searcher.ask("next")
    assert fits == [10, 11]


def test_it_starts_with_what_is_known_when_initial_designs_are_still_running(monkeypatch):
    fits = count_fits(monkeypatch)
    searcher = SurrogateAssisted(SPACE, GOALS, **{**QUICK, "initial_designs": 14})
    configs = [searcher.ask(str(i)) for i in range(14)]
    for i in range(9):
        evaluate(searcher, str(i), configs[i])
    assert searcher.ask("too few known") is not None
    assert fits == []
    evaluate(searcher, "9", configs[9])
    searcher.ask("enough")
    assert fits == [10]


def test_failed_trials_teach_nothing_and_stopped_ones_what_they_reported():
    goals = Goals.parse(["minimize size_mb", "maximize accuracy"])
    searcher = SurrogateAssisted(SPACE, goals, **QUICK)
    for trial, values, outcome in (
        ("failed", {"size_mb": 1.0, "accuracy": 0.5}, "failed"),
        ("early", {"size_mb": 2.0}, "stopped"),
        ("late", {"size_mb": 3.0, "accuracy": 0.4}, "stopped"),
        ("half", {"size_mb": 4.0}, "finished"),
    ):
        searcher.ask(trial)
        searcher.tell(trial, 1, {**values, "unasked": 7.0})
        searcher.end(trial, outcome)
    assert [t["values"] for t in searcher.state()["sample"]] == [
        {"size_mb": 2.0},
        {"size_mb": 3.0, "accuracy": 0.4},
    ]


def test_inactive_parameters_do_not_reach_the_surrogates(monkeypatch):
    from raysearch.searchers.surrogate import surrogate_assisted

    seen = []
    real = surrogate_assisted.learn

    def spied(goals, inputs, points, *rest):
        seen.append(inputs(points))
        return real(goals, inputs, points, *rest)

    monkeypatch.setattr(surrogate_assisted, "learn", spied)

    def identity(config):
        active = {"a", "b", "c"} | ({"d"} if config["a"] > 0.5 else set())
        return json.dumps({name: config[name] for name in sorted(active)}), frozenset(active)

    merit(SurrogateAssisted(SPACE, GOALS, identity=identity, **QUICK), 12)
    inactive = seen[0][:, 0] <= 0.5
    assert inactive.any()
    assert (seen[0][inactive, 3] == 0).all()
    assert (seen[0][~inactive, 3] > 0).all()


def test_a_small_space_is_exhausted_and_ends():
    space = (
        Parameter(("a",), "integer", low=1, high=4),
        Parameter(("b",), "categorical", choices=("x", "y", "z")),
    )
    goals = Goals.parse(["minimize f", "minimize g"])
    searcher = SurrogateAssisted(space, goals, **QUICK)
    configs = []
    for i in range(12):
        configs.append(searcher.ask(str(i)))
        searcher.tell(str(i), 1, {"f": float(configs[-1]["a"]), "g": -float(configs[-1]["a"])})
        searcher.end(str(i), "finished")
    assert len({json.dumps(config) for config in configs}) == 12
    assert searcher.ask("none left") is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"initial_designs": 9}, "initial_designs is 9: it must be at least 10"),
        ({"infills": 0}, "infills is 0"),
        ({"population": 3}, "population is 3"),
        ({"generations": 0}, "generations is 0"),
        ({"objectives_by": "best"}, "objectives_by is 'best'"),
    ],
)
def test_bad_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        SurrogateAssisted(SPACE, GOALS, **{**QUICK, **option})


def test_a_single_objective_is_optimised():
    goals = Goals.parse(["minimize f"])
    searcher = SurrogateAssisted(SPACE, goals, **{**QUICK, "population": 40})
    found = []
    for i in range(20):
        config = searcher.ask(str(i))
        evaluate(searcher, str(i), config)
        found.append(values_of(config)["f"])
    assert np.mean(found[10:]) < np.mean(found[:10])


def test_a_figure_beyond_single_precision_counts_as_not_known():
    pytest.importorskip("xgboost", reason="the extra surrogates brings xgboost")
    searcher = SurrogateAssisted(SPACE, GOALS, **{**QUICK, "candidates": ("xgboost",)})
    for i in range(14):
        config = searcher.ask(str(i))
        searcher.tell(str(i), 1, {**values_of(config), **({"f": 1e39} if i == 3 else {})})
        searcher.end(str(i), "finished")
    assert searcher.ask("next")
