"""Pymoo's algorithms as they are set up: what is refused, reference directions, one child at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.pymoo.algorithms import check, directions, individuals, make
from raysearch.searchers.trials import Member
from raysearch.searchers.variation import Variation

TWO = Goals.parse(["minimize f", "minimize g"])
LIMITED = Goals.parse(["minimize f", "minimize g"], ["f <= 1"])
ENCODING = Encoding([Parameter((f"x{i}",), "float", 0.0, 1.0) for i in range(4)])


@pytest.mark.parametrize(
    ("algorithm", "goals", "population", "message"),
    [
        ("nsga4", TWO, 20, "did you mean 'nsga3'"),
        ("nsga3", Goals.parse(["minimize f"]), 20, "nsga3 is for two objectives or more, not 1"),
        ("moead", LIMITED, 20, "moead cannot handle constraints"),
        ("smsemoa", TWO, 3, "population is 3: smsemoa needs at least 4"),
    ],
)
def test_what_cannot_work_is_refused(algorithm: str, goals: Goals, population: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(algorithm, goals, population)


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("population", [4, 20, 100])
def test_there_are_as_many_directions_as_fit(objectives: int, population: int) -> None:
    found = directions(objectives, max(population, objectives))
    assert objectives <= len(found) <= max(population, objectives)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    partitions = next(p for p in range(1, 200) if math.comb(p + objectives - 1, objectives - 1) == len(found))
    assert math.comb(partitions + objectives, objectives - 1) > population  # one more would be too many


def test_individuals_carry_costs_and_violations_without_infinities() -> None:
    members = [
        Member([0.1, 0.2], [1.0, -2.0], 0.0, math.inf),
        Member([0.3, 0.4], [math.inf, 0.0], math.inf, 3),
    ]
    found = individuals(members)
    assert found.get("X").tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert found.get("F").tolist() == [[1.0, -2.0], [1e30, 0.0]]
    assert found.get("G").tolist() == [[0.0], [1e30]]


@pytest.mark.parametrize("algorithm", ["nsga3", "ctaea", "moead", "smsemoa"])
def test_each_gives_and_takes_one_child_at_a_time(algorithm: str) -> None:
    goals = TWO if algorithm == "moead" else LIMITED
    variation = Variation(ENCODING)
    made = make(algorithm, goals, 8, variation, lambda x: np.ones(4, dtype=bool))
    made.random_state = np.random.RandomState(0)
    rng = np.random.default_rng(0)
    points = rng.random((8, 4))
    members = [Member(p.tolist(), [float(p[0]), 1 - float(p[0])], 0.0, math.inf) for p in points]
    made.ask()
    made.tell(infills=individuals(members))
    for _ in range(4):
        child = made.ask()
        assert len(child) == 1
        (x,) = child.get("X")
        assert ((x >= 0) & (x <= 1)).all()
        made.tell(infills=individuals([Member(x.tolist(), [float(x[0]), 1 - float(x[0])], 0.0, math.inf)]))
