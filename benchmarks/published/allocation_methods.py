"""How the study of instance A divided a budget: methods to compare with, on pymoo.

Every branch has a reward with a spike where accuracy meets the floor; NSGA-II maximises all branches' rewards
(times their importances) at once, a genetic algorithm maximises their sum under penalties, and a ladder
relaxes the limits until random draws are feasible. ``nsga2`` is the stronger rival: two objectives and
constraints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysearch.allocation.curves import Floats
from raysearch.allocation.problem import Problem
from raysearch.allocation.rewards import branch_rewards

LADDER = ((0.0, 1.00), (2.0, 1.05), (5.0, 1.10), (8.0, 1.15), (10.0, 1.20))
"""By how much the floor is lowered, and what caps are multiplied by."""
DRAWS = 500
ENOUGH = 10  # feasible draws, for a rung to be optimised
_OVERSIZE, _SHORTFALL = 100.0, 1e4  # penalties of a squared MB, of a squared point of accuracy


@dataclass(frozen=True)
class Found:
    """What a method ended with.

    Attributes:
        ratios: its points, shape (k, n): a front, or one point.
        violations: of each point, 0 where it keeps every limit, (k,).
        evaluations: how many divisions were evaluated.
    """

    ratios: Floats
    violations: Floats
    evaluations: int

    @property
    def feasible(self) -> Floats:
        """The points that keep every limit."""
        return np.asarray(self.ratios[self.violations == 0])


def nsga2(problem: Problem, *, evaluations: int = 100_000, population: int = 200, seed: int = 0) -> Found:
    """NSGA-II on weighted accuracy and total size under the limits."""

    def objectives(ratios: Floats) -> Floats:
        return np.column_stack([-problem.weighted_accuracy(ratios), problem.total_size(ratios)])

    return _nsga2(problem, objectives, 2, evaluations, population, seed)


def nsga2_per_branch(
    problem: Problem, *, population: int = 500, generations: int = 1000, seed: int = 0
) -> Found:
    """The study's NSGA-II: an objective a branch, minus importance times reward, and no constraints."""

    def objectives(ratios: Floats) -> Floats:
        return np.asarray(-problem.importances * branch_rewards(problem, ratios))

    n = len(problem.branches)
    evaluations = population * generations
    return _nsga2(problem, objectives, n, evaluations, population, seed, constrained=False)


def penalised_ga(problem: Problem, *, population: int = 200, generations: int = 1000, seed: int = 0) -> Found:
    """The study's genetic algorithm: the weighted sum of the rewards, less penalties.

    They are 100 e^2 for a branch e MB over its cap, and 10^4 s^2 for a weighted accuracy s below the floor.
    """
    from pymoo.algorithms.soo.nonconvex.ga import GA

    def loss(ratios: Floats) -> Floats:
        over = np.maximum(problem.sizes(ratios) - problem.caps, 0)
        short = np.maximum(problem.floor - problem.weighted_accuracy(ratios), 0)
        gained = (problem.importances * branch_rewards(problem, ratios)).sum(axis=1)
        penalties = _OVERSIZE * (over**2).sum(axis=1) + _SHORTFALL * short**2
        return np.asarray(penalties - gained)[:, None]

    result = _minimised(GA(pop_size=population), problem, loss, 1, population * generations, seed)
    return _found(problem, np.atleast_2d(result.X), result)


def relaxation_ladder(problem: Problem, *, seed: int = 0, evaluations: int = 100_000) -> Found:
    """The study's ladder: NSGA-II on the first rung where 10 of 500 draws from Beta(2, 8) are feasible.

    Returns:
        Points with their violations of the unrelaxed problem; none where no rung had enough feasible draws.
    """
    rng = np.random.default_rng(seed)
    drawn = 0
    for drop, factor in LADDER:
        rung = replace(problem.with_caps(problem.caps * factor), floor=problem.floor - drop)
        draws = rng.beta(2, 8, (DRAWS, len(problem.branches)))
        drawn += DRAWS
        if (rung.violation(draws) == 0).sum() >= ENOUGH:
            found = nsga2(rung, evaluations=evaluations, seed=seed)
            violations = problem.violation(found.ratios)
            return Found(found.ratios, violations, found.evaluations + drawn)
    return Found(np.empty((0, len(problem.branches))), np.empty(0), drawn)


def _nsga2(
    problem: Problem,
    objectives: Callable[[Floats], Floats],
    count: int,
    evaluations: int,
    population: int,
    seed: int,
    constrained: bool = True,
) -> Found:
    from pymoo.algorithms.moo.nsga2 import NSGA2

    algorithm = NSGA2(pop_size=population)
    result = _minimised(algorithm, problem, objectives, count, evaluations, seed, constrained)
    return _found(problem, np.atleast_2d(result.pop.get("X")), result)


def _minimised(
    algorithm: Any,
    problem: Problem,
    objectives: Callable[[Floats], Floats],
    count: int,
    evaluations: int,
    seed: int,
    constrained: bool = False,
) -> Any:
    """Pymoo's result after so many evaluations."""
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.optimize import minimize

    class Divisions(PymooProblem):  # type: ignore[misc]
        def _evaluate(self, x: Floats, out: dict[str, Floats], *_: Any, **__: Any) -> None:
            out["F"] = objectives(x)
            if constrained:
                out["G"] = problem.violation(x)[:, None]

    asked = Divisions(
        n_var=len(problem.branches),
        n_obj=count,
        n_ieq_constr=int(constrained),
        xl=problem.unpruned,
        xu=problem.high,
    )
    return minimize(asked, algorithm, ("n_eval", evaluations), seed=seed)


def _found(problem: Problem, ratios: Floats, result: Any) -> Found:
    return Found(ratios, problem.violation(ratios), int(result.algorithm.evaluator.n_eval))
