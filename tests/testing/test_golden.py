"""Seeded runs find the fronts that are kept in tests/golden.

After a change that is meant to move them: ``python tests/testing/test_golden.py`` writes them anew; read the
difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.testing import CONDITIONAL, CURVES, ZDT1, check_front, front_of, write_front

FOLDER = Path(__file__).parents[1] / "golden"


def searcher(kind, toy):
    return kind(toy.parameters, toy.goals, seed=1, identity=toy.identity)


CASES = {
    "random_zdt1": lambda: front_of(ZDT1, searcher(RandomSearch, ZDT1), FullTraining(), budget=100),
    "nsga2_zdt1": lambda: front_of(ZDT1, searcher(NSGA2, ZDT1), FullTraining(), budget=100),
    "nsga2_conditional": lambda: front_of(
        CONDITIONAL, searcher(NSGA2, CONDITIONAL), FullTraining(), budget=100
    ),
    "successive_halving_curves": lambda: front_of(
        CURVES, searcher(RandomSearch, CURVES), SuccessiveHalving(CURVES.goals, max_step=27), budget=300
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_front_is_the_one_kept(name):
    check_front(FOLDER / f"{name}.json", CASES[name]())


def test_a_front_that_moved_is_caught(tmp_path):
    path = tmp_path / "front.json"
    with pytest.raises(AssertionError, match=r"front.json does not exist"):
        check_front(path, [[0.0, 1.0]])
    write_front(path, [[0.0, 1.0], [1.0, 0.0]])
    check_front(path, [[0.0, 1.0], [1.0, 1e-12]])
    with pytest.raises(AssertionError, match="differs in 1 of 2 points"):
        check_front(path, [[0.0, 1.0], [1.0, 1e-6]])
    with pytest.raises(AssertionError, match="has shape"):
        check_front(path, [[0.0, 1.0]])


if __name__ == "__main__":
    for case, front in CASES.items():
        write_front(FOLDER / f"{case}.json", front())
