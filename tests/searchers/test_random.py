from __future__ import annotations

import pytest

from raysearch.searchers.random import RandomSearch
from raysearch.testing import GOALS, PARAMETERS, check_searcher


def test_it_keeps_the_contract():
    check_searcher(lambda parameters, goals: RandomSearch(parameters, goals, seed=3))


def test_seeds_differ():
    a, b = (RandomSearch(PARAMETERS, GOALS, seed=seed).ask("0") for seed in (0, 1))
    assert a != b


def test_initial_configs_come_first():
    first = {"architecture": {"depth": 2, "block": "plain"}, "pruning": {"ratio": 0.5}, "lr": 1e-3}
    searcher = RandomSearch(PARAMETERS, GOALS, initial=[first])
    config = searcher.ask("0")
    assert config["architecture"] == first["architecture"]
    assert config["lr"] == pytest.approx(1e-3)
    assert searcher.ask("1") != config


def test_an_exhausted_space_gives_none():
    searcher = RandomSearch(PARAMETERS[:2], GOALS)
    assert [searcher.ask(str(i)) is None for i in range(13)] == [False] * 12 + [True]
