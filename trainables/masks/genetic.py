"""A genetic algorithm over masks.

References:
    Holland, J. H. (1975). Adaptation in natural and artificial systems.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysearch.basics.failures import UserError
from raysearch.trainables.masks.annealing import Walk, check_shares
from raysearch.trainables.masks.landscapes import Floats, Landscape
from raysearch.trainables.masks.masks import Mask


@dataclass(frozen=True)
class Genetic:
    """The best of a population stay; the others make room for children of two parents, mutated.

    A parent is the better of two drawn at random. The first population is the start and neighbours of it.

    Args:
        population: how many masks there are, >= 3.
        elite: how many stay, in [1, population - 1].
        share: of units that the first mutations change, in (0, 1].
        decay: of the share, a factor for each generation that finds nothing better, in (0, 1].

    Raises:
        ValueError: an option out of its range.
    """

    population: int = 12
    elite: int = 2
    share: float = 0.15
    decay: float = 0.8

    def __post_init__(self) -> None:
        if self.population < 3:
            raise UserError(f"population is {self.population}: give at least 3 masks")
        if not 1 <= self.elite < self.population:
            raise UserError(f"elite is {self.elite}: give from 1 to {self.population - 1} of the population")
        check_shares(share=self.share, decay=self.decay)

    def run(self, landscape: Landscape, start: Mask, evaluations: int, rng: np.random.Generator) -> Walk:
        """Breed from a mask (units,) until the evaluations are spent; the start's is the first."""
        share, look = self.share, landscape.look
        again = self.elite if look else 0  # whose costs are taken again, on the same examples
        landscape.advance(start, rng)
        count = max(1, min(self.population, evaluations - look))
        masks = np.stack([start, *(landscape.neighbour(start, share, rng) for _ in range(count - 1))])
        masks, costs = _sorted(masks, landscape.costs(masks))
        walk = Walk(masks[0], float(costs[0]), look + count)
        walk.curve.append((walk.evaluations, walk.cost))
        while (room := evaluations - walk.evaluations - look - again) > 0:
            landscape.advance(masks[0], rng)
            children = min(room, self.population - self.elite)
            bred = [self._child(landscape, masks, share, rng) for _ in range(children)]
            masks = np.stack([*masks[: self.elite], *bred])
            kept = costs[: self.elite - again]
            costs = np.concatenate([kept, landscape.costs(masks[len(kept) :])])
            walk.evaluations += look + len(masks) - len(kept)
            improved = costs.argmin() >= min(self.elite, len(masks))
            masks, costs = _sorted(masks, costs)
            if not improved:
                share = max(share * self.decay, 1 / len(start))
            walk.mask, walk.cost = masks[0], float(costs[0])
            walk.curve.append((walk.evaluations, walk.cost))
        return walk

    def _child(self, landscape: Landscape, masks: Mask, share: float, rng: np.random.Generator) -> Mask:
        """Of two parents, each the better of two: the population is sorted, the best first."""
        one, other = rng.integers(len(masks), size=(2, 2)).min(axis=1)
        return landscape.neighbour(landscape.cross(masks[one], masks[other], rng), share, rng)


def _sorted(masks: Mask, costs: Floats) -> tuple[Mask, Floats]:
    order = np.argsort(costs, kind="stable")
    return masks[order], costs[order]
