"""A suggestion, with the report and the end of its trial, costs no more than n log n in the trials so far."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cpu_time import cpu_seconds
from quick_searchers import quick_searcher

from raysearch.objectives import Goals
from raysearch.searchers import SEARCHERS
from raysearch.searchers.encoding import Encoding, Parameter

GOALS = Goals.parse(["minimize f", "minimize g"])
SPACE = tuple(Parameter((f"x{i}",), "float", 0.0, 1.0) for i in range(6))
NAMES = frozenset(Encoding(SPACE).names)
FEW, MANY = 100, 800


def learn(searcher, trial, config):
    values = np.array(list(config.values()))
    searcher.tell(trial, 1, {"f": float(values.mean()), "g": float(np.square(1 - values).sum())})
    searcher.end(trial, "finished")


def seconds(name, trials):
    """The median over five suggestions after so many trials, which were given."""
    searcher = quick_searcher(name, SPACE, GOALS, seed=0, identity=lambda c: (repr(c), NAMES))
    encoding, rng = Encoding(SPACE), np.random.default_rng(0)
    for i in range(trials):
        config = searcher.ask(str(i), encoding.decode(encoding.sample(rng)))
        learn(searcher, str(i), config)
    learn(searcher, "warm", searcher.ask("warm"))
    return np.median(
        [cpu_seconds(lambda i=i: learn(searcher, f"n{i}", searcher.ask(f"n{i}"))) for i in range(5)]
    )


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_suggestion_grows_with_n_log_n_at_most(name):
    few, many = seconds(name, FEW), seconds(name, MANY)
    assert math.log(many / few) / math.log(MANY / FEW) < 1.4
