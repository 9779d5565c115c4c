"""Constrained search on problems whose feasible fronts are known, at few evaluations.

Purpose: how soon a searcher finds feasible points, and how much of the front. C2-DTLZ2 and C3-DTLZ4 (three
objectives, one and three constraints), MW1, MW2, MW3 and MW6 (two objectives; a thin feasible band, many
small feasible islands, two constraints), and DAS-CMOP1 (two objectives, eleven constraints, all three
difficulties at .25), each with few variables, as one has few evaluations: 7 for the DTLZ, 6 for the others.
A figure is the mean over problems and seeds of the hypervolume of the feasible points found, as a share of
the known front's, normalised by its ideal and nadir, reference 1.1 ("hv@100"), and of the share of
evaluations that were feasible ("feasible@100"). Each problem's own figures are in the table.

Acceptance: the default searcher beats random search and NSGA-II at 200 evaluations, one-sided p < 0.05 over
10 seeds or more of the mean over problems.

Limit: a ratio of 1 is the true front; nobody is there at 500 evaluations.

Table: none, the problems are pymoo's; DAS-CMOP1's front is that of a dense grid over its two free quantities.

References:
    Jain, H., & Deb, K. (2014). An evolutionary many-objective optimization algorithm using reference-point
        based nondominated sorting approach, part II. (C-DTLZ)
    Ma, Z., & Wang, Y. (2019). Evolutionary constrained multiobjective optimization: Test suite
        construction and performance comparisons. (MW)
    Fan, Z., et al. (2020). Difficulty adjustable and scalable constrained multiobjective test problem
        toolkit. (DAS-CMOP)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import Floats, Merit, arguments, by_budget, report, show
from benchmarks.decision_cost import default_of
from raysearch.objectives import Goals
from raysearch.pareto import non_dominated
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers import SEARCHERS, make_searcher
from raysearch.searchers.base import Config
from raysearch.searchers.encoding import Parameter
from raysearch.simulation import Problem, simulate
from raysearch.testing import better

NAME = "constrained"
BUDGETS = (100, 200, 500)
PROBLEMS = ("c2dtlz2", "c3dtlz4", "mw1", "mw2", "mw3", "mw6", "dascmop1")


@dataclass(frozen=True)
class Known:
    """A problem of pymoo, and points on its feasible front, shape (k, m)."""

    problem: Any
    front: Floats

    @classmethod
    def of(cls, name: str) -> Known:
        """The problem of this name with few variables."""
        from pymoo.problems import get_problem
        from pymoo.util.ref_dirs import get_reference_directions

        if name.startswith("dascmop"):
            problem = get_problem(name, 4, n_var=6)
            return cls(problem, _das_cmop1_front(problem))
        if name.startswith("mw"):
            problem = get_problem(name, n_var=6)
            return cls(problem, np.asarray(problem.pareto_front()))
        problem = get_problem(name, n_var=7, n_obj=3)
        directions = get_reference_directions("das-dennis", 3, n_partitions=40)
        return cls(problem, np.asarray(problem.pareto_front(directions)))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x0, x1, ... within the problem's bounds."""
        return tuple(
            Parameter((f"x{i}",), "float", float(low), float(high))
            for i, (low, high) in enumerate(zip(self.problem.xl, self.problem.xu, strict=True))
        )

    @property
    def goals(self) -> Goals:
        """Minimise f0, f1, ...; keep g0, g1, ... <= 0."""
        return Goals.parse(
            [f"minimize f{i}" for i in range(self.problem.n_obj)],
            [f"g{i} <= 0" for i in range(self.problem.n_ieq_constr)],
        )

    def values(self, config: Config, step: int) -> dict[str, float]:
        """The objectives and constraints of one point."""
        point = np.array([config[f"x{i}"] for i in range(self.problem.n_var)])
        found = self.problem.evaluate(point, return_as_dictionary=True)
        return {
            **{f"f{i}": float(f) for i, f in enumerate(found["F"])},
            **{f"g{i}": float(g) for i, g in enumerate(found["G"])},
        }


def _das_cmop1_front(problem: Any) -> Floats:
    """The feasible front over a grid of the first variable and of the distance g that the others make."""
    first, distance = np.meshgrid(np.linspace(0, 1, 1001), np.linspace(0, 1, 1001))
    others = np.sin(0.5 * np.pi * first) - np.sqrt(distance / (problem.n_var - 1))
    points = np.column_stack([first.ravel(), *[others.ravel()] * (problem.n_var - 1)])
    found = problem.evaluate(points[others.ravel() >= 0], return_as_dictionary=True)
    front: Floats = found["F"][non_dominated(found["F"], found["G"].max(axis=1))]
    return front


def shares(known: Known, searcher: str, seed: int) -> Floats:
    """The hypervolume ratio and the share of feasible evaluations at each budget, shape (2, budgets)."""
    merit, goals = Merit(known.front), known.goals
    names = frozenset(str(p) for p in known.parameters)
    method = make_searcher(
        searcher,
        known.parameters,
        goals,
        seed=seed,
        initial=(),
        identity=lambda config: (repr(config), names),
    )
    run = simulate(Problem(known.values, last_step=1), method, FullTraining(), max_trials=BUDGETS[-1])
    costs = np.array([goals.costs(entry.values) for entry in run.reports])
    feasible = np.array([goals.violation(entry.values, 1) <= 0 for entry in run.reports])
    ratios = [merit(costs[:budget][feasible[:budget]]) for budget in BUDGETS]
    return np.array([ratios, [feasible[:budget].mean() for budget in BUDGETS]])


def methods() -> list[str]:
    """Random search, NSGA-II, C-TAEA and the default searcher, as far as there are."""
    wanted = dict.fromkeys(["random", "nsga2", "ctaea", default_of("searcher")])
    return [name for name in wanted if name in SEARCHERS]


def measure(seeds: int) -> dict[str, Floats]:
    """Of each method by problem, shape (problems, seeds, 2, budgets)."""
    known = [Known.of(name) for name in PROBLEMS]
    return {
        method: np.array([[shares(problem, method, seed) for seed in range(seeds)] for problem in known])
        for method in methods()
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    options = arguments(__doc__, seeds=10).parse_args(argv)
    found = measure(options.seeds)
    ours = list(found)[-1]
    for i, problem in enumerate(PROBLEMS):
        show(f"{NAME}, {problem}", {method: table[i, :, 0] for method, table in found.items()}, BUDGETS, {})
    p_values = {
        f"p ({ours} above {method})": [
            better(found[ours].mean(0)[:, 0, b].tolist(), found[method].mean(0)[:, 0, b].tolist())
            for b in range(len(BUDGETS))
        ]
        for method in list(found)[:-1]
    }
    rows = {method: table.mean(axis=0)[:, 0] for method, table in found.items()}
    show(f"{NAME}, mean over problems", rows, BUDGETS, p_values)
    for method, table in found.items():
        shown = ", ".join(f"{share:.3f}" for share in table.mean(axis=(0, 1))[1])
        print(f"feasible evaluations, {method}: {shown}")
    if options.json:
        figures = {method: _figures(table) for method, table in found.items()}
        p = {
            f"p_above_{method}@{budget}": p_values[f"p ({ours} above {method})"][b]
            for method in list(found)[:-1]
            for b, budget in enumerate(BUDGETS)
        }
        report(NAME, {**figures.pop(ours), **p}, figures)


def _figures(table: Floats) -> dict[str, float]:
    mean = table.mean(axis=0)
    feasible = by_budget(mean[:, 1], BUDGETS)
    return {
        **by_budget(mean[:, 0], BUDGETS),
        **{k.replace("hv", "feasible"): v for k, v in feasible.items()},
    }


if __name__ == "__main__":
    main()
