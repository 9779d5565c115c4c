"""Simulated annealing over masks.

References:
    Kirkpatrick, S., Gelatt, C. D., & Vecchi, M. P. (1983). Optimization by simulated annealing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from raysearch.basics.failures import UserError
from raysearch.trainables.masks.landscapes import Landscape
from raysearch.trainables.masks.masks import Mask


@dataclass
class Walk:
    """Where a search came to: its mask, the evaluations spent, and (evaluations, cost of the best mask)."""

    mask: Mask
    cost: float
    evaluations: int
    curve: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Annealing:
    """Each iteration evaluates some neighbours at once and goes to the best of them, or stays.

    A better mask is always accepted, a worse one with probability exp(-delta / temperature), delta as a share
    of the present cost. The share of units that neighbours change grows or shrinks to that of the accepted
    one, and decays with every rejection.

    Args:
        batch: neighbours of an iteration; above 1, the shares that they change lie around the present one.
        temperature: of the first iteration, > 0.
        cooling: of the temperature, a factor an evaluation, in (0, 1].
        share: of units that the first neighbours change, in (0, 1].
        decay: of the share, a factor for each rejected neighbour, in (0, 1].

    Raises:
        ValueError: an option out of its range.
    """

    batch: int = 3
    temperature: float = 0.02
    cooling: float = 0.98
    share: float = 0.15
    decay: float = 0.9

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch is {self.batch}: give at least 1 neighbour an iteration")
        if not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature}: give a number above 0")
        check_shares(cooling=self.cooling, share=self.share, decay=self.decay)

    def run(self, landscape: Landscape, start: Mask, evaluations: int, rng: np.random.Generator) -> Walk:
        """Walk from a mask (units,) until the evaluations are spent; the start's is the first."""
        now = Walk(start, float(landscape.costs(start[None])[0]), 1)
        now.curve.append((1, now.cost))
        best, share, temperature = (now.mask, now.cost), self.share, self.temperature
        anew = landscape.look > 0  # then the present mask's cost is taken again, on the same examples
        while (room := evaluations - now.evaluations - landscape.look - anew) > 0:
            landscape.advance(now.mask, rng)
            shares = self._shares(share)[:room]
            tried = np.stack([landscape.neighbour(now.mask, s, rng) for s in shares])
            costs = landscape.costs(np.vstack([tried, now.mask]) if anew else tried)
            if anew:
                now.cost = float(costs[-1])
            now.evaluations += landscape.look + len(costs)
            temperature *= self.cooling ** len(tried)
            first = int(np.argmin(costs[: len(tried)]))
            if _accepted(float(costs[first]), now.cost, temperature, rng):
                now.mask, now.cost, share = tried[first], float(costs[first]), shares[first]
            else:
                share = max(share * self.decay ** len(tried), 1 / len(start))
            if anew or now.cost < best[1]:
                best = (now.mask, now.cost)
            now.curve.append((now.evaluations, best[1]))
        now.mask, now.cost = best
        return now

    def _shares(self, share: float) -> list[float]:
        if self.batch == 1:
            return [share]
        return [min(1.0, share * 2**e) for e in np.linspace(-1.0, 1.0, self.batch)]


def _accepted(cost: float, present: float, temperature: float, rng: np.random.Generator) -> bool:
    if cost <= present:
        return True
    delta = (cost - present) / max(abs(present), 1e-12)
    return bool(rng.random() < math.exp(-delta / max(temperature, 1e-12)))


def check_shares(**shares: float) -> None:
    """Refuse options that are not in (0, 1]."""
    for name, value in shares.items():
        if not 0 < value <= 1:
            raise UserError(f"{name} is {value}: give a number in (0, 1]")
