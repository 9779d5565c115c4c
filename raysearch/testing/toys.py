"""Small problems on which methods are compared in seconds, with their figure of merit.

References:
    Zitzler, E., Deb, K., & Thiele, L. (2000). Comparison of multiobjective evolutionary algorithms: Empirical
        results. (ZDT1)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.objectives import Goals
from raysearch.pareto import hypervolume, non_dominated
from raysearch.searchers.base import Config, Identity
from raysearch.searchers.encoding import Parameter
from raysearch.simulation import Problem, Simulation


@dataclass(frozen=True)
class Toy:
    """A space, goals, and what trials report and cost.

    Args:
        parameters: the space.
        goals: objectives and constraints on the reports.
        problem: what trials report.
        reference: of the hypervolume, as costs (all minimised), one an objective.
        identity: which configs are the same, where some are.
    """

    parameters: tuple[Parameter, ...]
    goals: Goals
    problem: Problem
    reference: tuple[float, ...]
    identity: Identity | None = None


def costs_of(toy: Toy, run: Simulation) -> NDArray[np.float64]:
    """The front that a simulation found, as costs of shape (k, m), sorted.

    Every trial counts with the latest value of each metric that it reported, stopped or not.
    """
    latest: dict[str, dict[str, float]] = {}
    steps: dict[str, int] = {}
    for report in run.reports:
        latest.setdefault(report.trial, {}).update(report.values)
        steps[report.trial] = report.step
    costs = np.array([toy.goals.costs(values) for values in latest.values()])
    costs = costs.reshape(-1, len(toy.goals.metrics))
    violations = np.array([toy.goals.violation(v, steps[t]) for t, v in latest.items()])
    front = costs[non_dominated(costs, violations)]
    return front[np.lexsort(front.T[::-1])]


def merit(toy: Toy, run: Simulation) -> float:
    """The hypervolume of the front that a simulation found; higher is better."""
    return hypervolume(costs_of(toy, run), toy.reference)


def _zdt1(config: Config, step: int) -> dict[str, float]:
    first, *rest = (config[f"x{i}"] for i in range(6))
    g = 1 + 9 * sum(rest) / len(rest)
    return {"f1": first, "f2": g * (1 - math.sqrt(first / g))}


ZDT1 = Toy(
    tuple(Parameter((f"x{i}",), "float", 0.0, 1.0) for i in range(6)),
    Goals.parse(["minimize f1", "minimize f2"]),
    Problem(_zdt1, last_step=1),
    reference=(1.1, 5.0),
)
"""Continuous: six variables, a convex front from (0, 1) to (1, 0)."""


def _conditional(config: Config, step: int) -> dict[str, float]:
    """Deeper and wider networks err less and are slower; a branch pays only where its kernel is 5."""
    width, kind = config["width"], {"plain": 0.0, "separable": 0.1, "branched": 0.25}[config["block"]]
    gain = 0.15 - 0.05 * abs(config["branch"]["kernel"] - 5) if config["block"] == "branched" else 0.0
    error = 0.6 * math.exp(-width / 20 * (1 - kind / 2)) + 0.1 * abs(math.log10(config["lr"]) + 2.5) - gain
    latency = width * (1 - 2 * kind + 3 * kind**2) / 64 + (0.05 if gain > 0 else 0.0)
    return {"error": error, "latency_ms/cpu": latency}


def _conditional_identity(config: Config) -> tuple[str, frozenset[str]]:
    names = {"block", "width", "lr"} | ({"branch/kernel"} if config["block"] == "branched" else set())
    flat = {**config, "branch/kernel": config["branch"]["kernel"]}
    return repr([(name, flat[name]) for name in sorted(names)]), frozenset(names)


CONDITIONAL = Toy(
    (
        Parameter(("block",), "categorical", choices=("plain", "separable", "branched")),
        Parameter(("branch", "kernel"), "integer", low=1, high=9, step=2),
        Parameter(("width",), "integer", low=4, high=64, step=4),
        Parameter(("lr",), "float", low=1e-4, high=1e-1, log=True),
    ),
    Goals.parse(["minimize error", "minimize latency_ms/cpu"], ["latency_ms/cpu <= 0.8"]),
    Problem(_conditional, last_step=1),
    reference=(1.0, 1.0),
    identity=_conditional_identity,
)
"""Mixed and conditional, with a constraint: the branch's kernel matters in one kind of block only."""


def _curve(config: Config, step: int) -> dict[str, float]:
    """A power law that falls to a floor; the larger the network, the lower and the later."""
    size, rate = config["size"], config["rate"]
    floor = 0.25 * (1 - size) ** 2 + 2 * (rate - 0.3) ** 2
    return {"error": floor + (1 - floor) * (step + 1) ** -(0.8 + rate - 0.4 * size), "size": size}


CURVES = Toy(
    (Parameter(("size",), "float", 0.05, 1.0), Parameter(("rate",), "float", 0.0, 1.0)),
    Goals.parse(["minimize error", "minimize size"], last_step=27),
    Problem(_curve, last_step=27),
    reference=(1.0, 1.1),
)
"""Learning curves of 27 epochs that cross: small networks lead early and lose late."""
