"""Pure ask/tell methods, one a file, and the adapter that makes any of them Tune's."""

from __future__ import annotations

from collections.abc import Sequence

from raysearch.objectives import Goals
from raysearch.searchers.base import Canonical, Config, Searcher
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.random import RandomSearch
from raysearch.spelling import did_you_mean

SEARCHERS: dict[str, type[NSGA2] | type[RandomSearch]] = {"nsga2": NSGA2, "random": RandomSearch}


def make_searcher(
    name: str,
    parameters: Sequence[Parameter],
    goals: Goals,
    *,
    seed: int,
    initial: Sequence[Config],
    canonical: Canonical,
) -> Searcher:
    """The searcher of this name, fresh.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SEARCHERS:
        raise ValueError(f"searcher {name!r} is unknown; {did_you_mean(name, SEARCHERS)}")
    return SEARCHERS[name](parameters, goals, seed=seed, initial=initial, canonical=canonical)
