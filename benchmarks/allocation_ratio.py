"""One ratio: instance B against a fine grid and CMA-ES, spiked rewards against grids of half the cost."""

from __future__ import annotations

import numpy as np

from benchmarks.common import Floats
from raysearch.allocation import BestRatio, cma_es_ratio, search_ratio
from raysearch.allocation import instances as given
from raysearch.allocation.one_ratio import Evaluate

EVALUATIONS = 100
Figures = dict[str, float]


def one_ratio(rewards: int) -> tuple[Figures, Figures]:
    """Our figures, and those of CMA-ES at the study's settings over 20 seeds."""
    problem = given.instance_b()
    fine = _grid(problem, 1001)
    known = search_ratio(problem, evaluations=EVALUATIONS, breaks=problem.breaks())
    blind = search_ratio(problem, evaluations=EVALUATIONS)
    runs = [cma_es_ratio(problem, seed=seed) for seed in range(1, 21)]
    figures = {
        "instance_b_grid_ratio": fine[0],
        "instance_b_grid_reward": round(fine[1], 4),
        "instance_b_ratio": round(known.ratio, 6),
        "instance_b_reward": round(known.reward, 4),
        "instance_b_reward_without_curves": round(blind.reward, 4),
        "instance_b_evaluations": float(known.evaluations),
        "instance_b_feasible": float(known.feasible),
        **_spiked(rewards),
    }
    cma = {
        "best_reward": round(max(run.reward for run in runs), 4),
        "median_reward": round(float(np.median([run.reward for run in runs])), 4),
        "worst_reward": round(min(run.reward for run in runs), 4),
        "feasible": float(sum(run.feasible for run in runs)),
        "median_evaluations": float(np.median([run.evaluations for run in runs])),
        "below_the_grid": float(sum(_worse(run, fine) for run in runs)),
    }
    return figures, cma


def _spiked(count: int) -> Figures:
    """How often a search as a black box ends below a grid of half its evaluations, or of as many."""
    rng = np.random.default_rng(3)
    below = {"half": 0, "full": 0}
    broken = 0
    for i in range(count):
        reward = given.random_ratio(rng) if i % 2 else _random_spikes(rng)
        found = search_ratio(reward, evaluations=EVALUATIONS)
        half, full = _grid(reward, EVALUATIONS // 2), _grid(reward, EVALUATIONS)
        below["half"] += _worse(found, half)
        below["full"] += _worse(found, full)
        feasible = (found.history[:, 2] == 0).any()
        broken += bool(feasible and not found.feasible)
    return {
        "spiked_rewards": float(count),
        "spiked_below_half_grid": float(below["half"]),
        "spiked_below_full_grid": float(below["full"]),
        "spiked_infeasible_preferred": float(broken),
    }


def _random_spikes(rng: np.random.Generator) -> Evaluate:
    """A smooth reward with jumps and narrow spikes, feasible between two ratios (or nowhere)."""
    phase, jumps, heights = rng.uniform(0, 6, 3), rng.random(4), 50 * rng.normal(size=4)
    spikes, tall, width = rng.random(5), 200 * rng.random(5), 10 ** rng.uniform(-4, -1.5, 5)
    low, high = rng.random(2)

    def evaluate(ratio: float) -> tuple[float, float]:
        smooth = 30 * np.sin(phase[0] + 5 * phase[1] * ratio) + 20 * np.cos(phase[2] * ratio)
        reward = smooth + heights[ratio > jumps].sum()
        reward += (tall * np.exp(-(((ratio - spikes) / width) ** 2))).sum()
        return float(reward), float(max(0.0, low - ratio, ratio - high))

    return evaluate


def _grid(evaluate: Evaluate, points: int) -> tuple[float, float, float]:
    """The best ratio of an even grid, its reward and violation: feasible ones first."""
    table: Floats = np.array([(p, *evaluate(p)) for p in np.linspace(0, 1, points).tolist()])
    best = table[np.lexsort((-table[:, 1], table[:, 2]))[0]]
    return float(best[0]), float(best[1]), float(best[2])


def _worse(found: BestRatio, grid: tuple[float, float, float]) -> bool:
    """Whether a grid's best is preferred: it breaks the limits less, or as little with a higher reward."""
    return (-grid[2], grid[1]) > (-found.violation, found.reward)
