"""What the contracts of searchers and schedulers share: goals, a space, and plain demands."""

from __future__ import annotations

import json

from raysearch.objectives import Goals
from raysearch.searchers.encoding import Parameter

GOALS = Goals.parse(["maximize accuracy", "minimize latency_ms/cpu"], ["latency_ms/cpu <= 0.9"], last_step=10)
"""The goals of the checks: latency is known at step 0, accuracy after each of 9 epochs and at step 10."""

ONE_GOAL = Goals.parse(["maximize accuracy"], last_step=10)
"""The same with a single objective."""

PARAMETERS = (
    Parameter(("architecture", "depth"), "integer", low=1, high=4),
    Parameter(("architecture", "block"), "categorical", choices=("basic", "plain", "separable")),
    Parameter(("pruning", "ratio"), "float", low=0.0, high=0.8, step=0.05),
    Parameter(("lr",), "float", low=1e-4, high=1e-2, log=True),
)
"""The space of the checks: one parameter of each kind."""

Values = dict[str, float]


def through_json(state: object) -> dict[str, object]:
    """The state after JSON; AssertionError where that is not the same."""
    try:
        plain = json.loads(json.dumps(state))
    except TypeError as error:
        raise AssertionError(f"state must be plain JSON: {error}") from error
    demand(isinstance(plain, dict), "state must be a dict")
    demand(same(plain, state), "state must be plain JSON: strings as keys, lists instead of tuples")
    return dict(plain)


def same(a: object, b: object) -> bool:
    """Equality in which NaN equals NaN and a tuple does not equal a list."""
    return repr(a) == repr(b)


def demand(kept: bool, contract: str) -> None:
    """AssertionError with what the contract asks for, where it is not kept."""
    if not kept:
        raise AssertionError(contract)
