"""Pure ask/tell methods, one a file, and the adapter that makes any of them Tune's."""

from __future__ import annotations

from collections.abc import Sequence

from raysearch.methods import Choice, Method, check_choice, make
from raysearch.objectives import Goals
from raysearch.searchers.base import Canonical, Config, Searcher
from raysearch.searchers.encoding import Parameter

SEARCHERS = {
    "nsga2": Method("raysearch.searchers.nsga2:NSGA2", "NSGA-II, steady state"),
    "random": Method("raysearch.searchers.random:RandomSearch", "random draws without repetition"),
}


def make_searcher(
    choice: Choice,
    parameters: Sequence[Parameter],
    goals: Goals,
    *,
    seed: int,
    initial: Sequence[Config],
    canonical: Canonical,
) -> Searcher:
    """The searcher of this name, with its options, fresh.

    Raises:
        ValueError: the name or an option is unknown, or an option's value is wrong.
        ImportError: it needs a package that is not installed.
    """
    checked = check_choice("searcher", choice, SEARCHERS)
    searcher: Searcher = make(
        checked,
        SEARCHERS,
        parameters=parameters,
        goals=goals,
        seed=seed,
        initial=initial,
        canonical=canonical,
    )
    return searcher
