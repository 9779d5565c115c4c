import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.surrogate.problem import Inputs, SurrogateProblem, learn, optimise
from raysearch.searchers.surrogate.regressors import Selection

ENCODING = Encoding(
    (
        Parameter(("a",), "categorical", choices=("x", "y", "z")),
        Parameter(("b",), "float", low=0.0, high=2.0),
        Parameter(("c",), "float", low=0.0, high=1.0),
    )
)


class Column:
    """Predicts a multiple of one input."""

    def __init__(self, column, factor=1.0):
        self.column, self.factor = column, factor

    def fit(self, x, y):
        raise AssertionError("it knows already")

    def predict(self, x):
        return self.factor * x[:, self.column]


def made(goals, models, objectives, constraints, spans):
    return SurrogateProblem(goals, Inputs(ENCODING), models, objectives, constraints, spans)


def test_categories_become_columns_and_inactive_parameters_vanish():
    points = np.array([[0.1, 0.3, 0.6], [0.5, 0.3, 0.6], [1.0, 0.3, 0.6]])
    assert Inputs(ENCODING)(points).tolist() == [
        [1, 0, 0, 0.3, 0.6],
        [0, 1, 0, 0.3, 0.6],
        [0, 0, 1, 0.3, 0.6],
    ]
    active = Inputs(ENCODING, lambda point: np.array([True, point[0] < 0.4, True]))
    assert active(points)[:, 3].tolist() == [0.3, 0.0, 0.0]
    ignored = Inputs(ENCODING, lambda point: np.array([False, True, True]))
    assert ignored(points)[:, :3].sum() == 0


def test_costs_follow_directions_and_spans_and_misses_the_limits():
    goals = Goals.parse(
        ["minimize size", "maximize accuracy"],
        ["accuracy >= 0.5", "size <= 0.5 parent", "size <= 0.1"],
        parent={1: {"size": 1.2}},
    )
    size, accuracy = ("size", "knn"), ("accuracy", "knn")
    models = {size: Column(3), accuracy: Column(4)}
    problem = made(goals, models, (size, accuracy), (accuracy, size, size), (2.0, 1.0))
    costs, misses = problem(np.array([[0.0, 0.3, 0.6]]))
    assert costs.tolist() == [[0.15, -0.6]]
    assert misses[0] == pytest.approx([(0.5 - 0.6) / 0.5, (0.3 - 0.6) / 0.6, (0.3 - 0.1) / 0.1])


def test_a_limit_not_yet_known_is_kept():
    goals = Goals.parse(["minimize size"], ["size <= 0.5 parent"])
    key = ("size", "knn")
    problem = made(goals, {key: Column(3)}, (key,), (key,), (1.0,))
    assert problem(np.array([[0.0, 0.9, 0.0]]))[1].tolist() == [[-1.0]]


def test_ctaea_finds_the_feasible_front_and_puts_it_first():
    goals = Goals.parse(["minimize f", "minimize g"], ["f >= 0.5"])
    f, g = ("f", "knn"), ("g", "knn")

    class Rest(Column):
        def predict(self, x):
            return 1 - x[:, 3] + x[:, 4]

    problem = made(goals, {f: Column(3), g: Rest(0)}, (f, g), (f,), (1.0, 1.0))
    best = optimise(problem, 3, population=20, generations=60, rng=np.random.default_rng(0))[:12]
    costs, misses = problem(best)
    assert misses.max() <= 0
    # The front is g = 1 - f from f = 0.5 on; below the reference it dominates 0.125 of (0.5, 0.5).
    assert hypervolume(costs, [1.0, 0.5]) > 0.65 * 0.125


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_any_number_of_objectives_is_optimised(objectives):
    names = [f"f{i}" for i in range(objectives)]
    keys = tuple((name, "knn") for name in names)
    goals = Goals.parse([f"minimize {name}" for name in names])
    models = {key: Column(3 + i % 2, (-1.0) ** i) for i, key in enumerate(keys)}
    problem = made(goals, models, keys, (), (1.0,) * objectives)
    points = optimise(problem, 3, population=12, generations=3, rng=np.random.default_rng(0))
    assert points.shape[1] == 3
    assert 4 <= len(points) <= 12


def test_objective_and_constraint_on_one_metric_are_learnt_separately():
    goals = Goals.parse(["maximize accuracy"], ["accuracy >= 0.5"])
    rng = np.random.default_rng(0)
    points = rng.random((40, 3))
    values = {"accuracy": np.where(rng.random(40) < 0.2, np.nan, points[:, 1])}
    pairs = set()
    for seed in range(12):
        selection = Selection(("knn", "forest"), "random", "random")
        problem = learn(goals, Inputs(ENCODING), points, values, selection, np.random.default_rng(seed))
        pairs.add((problem.objectives[0][1], problem.constraints[0][1]))
        assert set(problem.models) == {*problem.objectives, *problem.constraints}
    assert len(pairs) == 4
    best = learn(goals, Inputs(ENCODING), points, values, Selection(("knn", "forest"), "mse", "mse"), rng)
    assert best.objectives == best.constraints == (("accuracy", "forest"),)
