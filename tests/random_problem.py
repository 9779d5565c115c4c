"""Allocation problems made up at random: what several test files divide."""

from __future__ import annotations

import numpy as np

from raysearch.allocation import Branch, Problem, parse

SPIKY = "max(0, 60 - 30 p - 40 p^2)", "max(10, 90 - 160 p)", "20 (1 - p)^3", "50 - 45 p^4"


def random_problem(seed: int, branches: int) -> Problem:
    """Branches with concave, convex and kinked curves, some of them limited."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(branches))
    made = tuple(
        Branch(
            str(i),
            float(w),
            parse(SPIKY[rng.integers(4)]),
            parse(["10 - 8 p", "9 (1 - p)^2 + 1", "max(2, 12 - 16 p)"][rng.integers(3)]),
            parse("1 - 0.9 p"),
            cap=float(rng.choice([np.inf, rng.uniform(6, 12)])),
            time_scale=float(rng.uniform(1, 3)),
        )
        for i, w in enumerate(weights)
    )
    return Problem(made)
