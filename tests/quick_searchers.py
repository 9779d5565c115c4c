"""Every searcher by name, with options that make it quick on small runs."""

from __future__ import annotations

from typing import Any

import pytest

from raysearch.searchers import make_searcher
from raysearch.searchers.base import Searcher

OPTIONS: dict[str, dict[str, Any]] = {
    "model_based": {"startup": 4},
    "nsga2": {"population": 4},
    **{name: {"population": 4} for name in ("nsga3", "ctaea", "moead", "smsemoa", "agemoea")},
    "surrogate_assisted": {
        "initial_designs": 10,
        "population": 8,
        "generations": 5,
        "candidates": ["knn"],
    },
    "qlognehvi": {"design": 9},
}


def quick_searcher(name: str, parameters, goals, *, seed: int, identity, initial=()) -> Searcher:
    """A fresh searcher; the test is skipped where its extra is not installed."""
    choice = {"name": name, **OPTIONS.get(name, {})}
    try:
        return make_searcher(choice, parameters, goals, seed=seed, initial=initial, identity=identity)
    except ImportError as error:
        pytest.skip(str(error))
