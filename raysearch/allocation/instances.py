"""The instances of two published studies of view pruning, and a generator of random ones.

A: a pruning ratio for each of twelve views of a multi-view network (MVCNN), with a size cap a view and a
floor on the importance-weighted accuracy. B: one ratio for the whole network.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from raysearch.allocation.curves import Curve, parse, polynomial
from raysearch.allocation.one_ratio import RatioProblem
from raysearch.allocation.problem import Problem

FLOOR_A = 64.58665441584051
"""Of the weighted accuracy, in per cent."""
IMPORTANCES_A = (
    0.03044561, 0.02201545, 0.12376647, 0.09755174, 0.04860051, 0.00832497,
    0.03501421, 0.00934147, 0.05674529, 0.15345743, 0.237974, 0.17676284,
)  # fmt: skip
CAPS_A = (396.94, 446.72, 236.25, 183.97, 483.84, 398.09, 100.33, 137.14, 318.26, 460.51, 468.65, 294.01)
"""In MB."""
TIME_SCALE_A = 10.0
FLOOR_B, CAP_B = 70.0, 300.0
SCORES_B = (
    1.0, 0.263158, 0.185185, 0.263158, 0.166667, 0.217391,
    0.416667, 0.357143, 0.2, 0.238095, 0.714286, 0.151515,
)  # fmt: skip
"""How much accuracy is lost without each view, by view."""


def accuracy_a() -> Curve:
    """In per cent."""
    return parse("max(0, 85.28 - 10.35 p - 28.44 p^2 - 49.40 p^3)")


def size_a() -> Curve:
    """In MB."""
    return polynomial([496.7, -706.2, 276.9, 4.020])


def time_a() -> Curve:
    """In ms, before a branch's time scale."""
    return polynomial([0.06386, -0.06386])


def size_b() -> Curve:
    """In MB."""
    return polynomial([480.4, -427.4])


def time_b() -> Curve:
    """In ms."""
    return polynomial([1.020, -1.417, 3.677, -3.275])


def instance_a() -> Problem:
    """Twelve views."""
    scales = [TIME_SCALE_A] * len(CAPS_A)
    return Problem.of(
        IMPORTANCES_A,
        CAPS_A,
        accuracy=accuracy_a(),
        size=size_a(),
        time=time_a(),
        time_scales=scales,
        floor=FLOOR_A,
    )


def random_instance(rng: np.random.Generator) -> Problem:
    """Instance A with caps of 100 U(1, 5) MB, a floor of 10 U(5, 8.2) per cent, time scales of U(10, 100)."""
    n = len(CAPS_A)
    caps, scales = 100 * rng.uniform(1, 5, n), rng.uniform(10, 100, n)
    problem = Problem.of(
        IMPORTANCES_A,
        caps.tolist(),
        accuracy=accuracy_a(),
        size=size_a(),
        time=time_a(),
        time_scales=scales.tolist(),
    )
    return replace(problem, floor=10 * rng.uniform(5, 8.2))


def instance_b() -> RatioProblem:
    """One ratio; its accuracy curve is lost, and instance A's stands for it."""
    return RatioProblem(accuracy_a(), size_b(), time_b(), FLOOR_B, CAP_B)


def random_ratio(rng: np.random.Generator) -> RatioProblem:
    """Instance B with a floor of U(50, 82) per cent and a cap of U(100, 450) MB, which may conflict."""
    return replace(instance_b(), floor=rng.uniform(50, 82), cap=rng.uniform(100, 450))


def instance_b_views() -> Problem:
    """Instance B's twelve views, with importances from its scores and instance A's curves, and no caps."""
    scores = np.array(SCORES_B)
    importance = (scores - scores.min()) / np.ptp(scores)
    return Problem.of(
        (importance / importance.sum()).tolist(),
        [np.inf] * len(scores),
        accuracy=accuracy_a(),
        size=size_a(),
        time=time_a(),
    )
