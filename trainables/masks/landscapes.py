"""What local search walks on: the cost of masks, and what lies beside a mask.

References:
    Molchanov, P., Mallya, A., Tyree, S., Frosio, I., & Kautz, J. (2019). Importance estimation for neural
    network pruning. (the slope of the loss along a unit's mask)
    LeCun, Y., Denker, J., & Solla, S. (1989). Optimal brain damage. (the curvature beside it)
    Theis, L., Korshunova, I., Tejani, A., & Huszar, F. (2018). Faster gaze prediction with dense networks and
    Fisher pruning. (squared slopes in the curvature's place)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raysearch.trainables.masks.mask_loss import MaskedLoss
from raysearch.trainables.masks.masks import Mask

Floats = NDArray[np.float64]

_GRADIENT = 3  # evaluations that a gradient counts as: the pass back takes about twice the time of the other
_EPSILON = 1e-6
_PENALTY = 1e3
_MEMORY = (0.8, 0.9)  # of the running means of slopes and of their squares, over iterations


class Landscape(Protocol):
    """Masks with their costs and their neighbours.

    ``look`` is what ``advance`` takes, in evaluations; where it is above 0, later costs are of other
    examples.
    """

    look: int

    def costs(self, masks: Mask) -> Floats:
        """The costs of masks (k, units), shape (k,); lower is better. Each is an evaluation."""

    def advance(self, mask: Mask, rng: np.random.Generator) -> None:
        """Look around the best mask, before its neighbours are asked for."""

    def neighbour(self, mask: Mask, share: float, rng: np.random.Generator) -> Mask:
        """A mask in which a share of the units, in (0, 1], at least one, is changed."""

    def cross(self, one: Mask, other: Mask, rng: np.random.Generator) -> Mask:
        """A mask with each unit from either parent."""


class TradeOff:
    """Masks of one layer with any number of units kept: loss against sparsity.

    Args:
        loss: on fixed examples.
        kept: the mask of all layers, (units,); that of this layer does not matter.
        layer: the one that is searched.
        unpruned: the unpruned network's loss.
        allowance: the increase of the loss from which on it is punished.
    """

    look = 0

    def __init__(self, loss: MaskedLoss, kept: Mask, layer: str, unpruned: float, allowance: float) -> None:
        self._loss, self._kept, self._layer = loss, kept, layer
        self._unpruned, self._allowance = unpruned, allowance

    def costs(self, masks: Mask) -> Floats:
        """``trade_off``, and a heavy penalty in proportion to what passes the allowance."""
        stacked = np.repeat(self._kept[None], len(masks), axis=0)
        stacked[:, self._loss.units.slices[self._layer]] = masks
        increase = self._loss.losses(stacked, [self._layer]) - self._unpruned
        sparsity = 1 - masks.mean(axis=1)
        return trade_off(increase, sparsity) + _PENALTY * np.maximum(increase - self._allowance, 0)

    def advance(self, mask: Mask, rng: np.random.Generator) -> None:
        """Nothing to look at."""

    def neighbour(self, mask: Mask, share: float, rng: np.random.Generator) -> Mask:
        """Flip units drawn at random."""
        flipped = mask.copy()
        flipped[rng.choice(len(mask), _count(share, len(mask)), replace=False)] ^= True
        return flipped

    def cross(self, one: Mask, other: Mask, rng: np.random.Generator) -> Mask:
        """Uniform crossover."""
        return np.where(rng.random(len(one)) < 0.5, one, other)


def trade_off(increase: Floats, sparsity: Floats) -> Floats:
    """The squared increase of the loss (a decrease is 0) over the share of units dropped; lower is better."""
    return np.maximum(increase, 0) ** 2 / (sparsity + _EPSILON)


class Swaps:
    """Masks that keep as many units as they have: what is dropped makes room for what comes back.

    Guided, the units that are swapped are those by which the loss falls most, to second order: with slope g
    and mean squared slope h of the loss along a unit's mask, dropping it adds h/2 - g, and taking it back h/2
    + g. Both are running means over the iterations, each on other examples; costs are taken on others again.

    Args:
        loss: of the masks of all layers.
        kept: the mask of all layers, (units,); that of the searched layers does not matter.
        layers: the neighbouring layers that are searched at once.
        pools: parts of these layers' units, which keep their number each; they cover them all.
        guided: whether gradients choose the swaps, or chance.
    """

    def __init__(
        self, loss: MaskedLoss, kept: Mask, layers: Sequence[str], pools: Sequence[slice], *, guided: bool
    ) -> None:
        slices = loss.units.slices
        self._span = slice(slices[layers[0]].start, slices[layers[-1]].stop)
        self._loss, self._kept, self._layers, self._pools = loss, kept, layers, pools
        self._guided, self._looks, self.look = guided, 0, _GRADIENT if guided else 0
        self._slope = self._square = np.zeros(self._span.stop - self._span.start)

    def costs(self, masks: Mask) -> Floats:
        """The losses."""
        stacked = np.repeat(self._kept[None], len(masks), axis=0)
        stacked[:, self._span] = masks
        return self._loss.losses(stacked, self._layers)

    def advance(self, mask: Mask, rng: np.random.Generator) -> None:
        """Take the gradient at the mask on some examples, and go on to others."""
        if not self._guided:
            return
        self._loss.draw(rng)
        whole = self._kept.copy()
        whole[self._span] = mask
        slope, square = self._loss.gains(whole)
        self._loss.draw(rng)  # swaps that only suit the gradient's own examples are to be found out
        a, b = _MEMORY
        self._slope = a * self._slope + (1 - a) * slope[self._span]
        self._square = b * self._square + (1 - b) * square[self._span]
        self._looks += 1

    def neighbour(self, mask: Mask, share: float, rng: np.random.Generator) -> Mask:
        """Swap a share of the kept or the dropped units, whichever are fewer, in every pool."""
        order = self._increases(mask) if self._guided else rng.random(len(mask))
        swapped = mask.copy()
        for pool in self._pools:
            kept, dropped = pool.start + np.flatnonzero(mask[pool]), pool.start + np.flatnonzero(~mask[pool])
            fewer = min(len(kept), len(dropped))
            if fewer:
                count = _count(share, fewer)
                swapped[_lowest(kept, order, count)] = False
                swapped[_lowest(dropped, order, count)] = True
        return swapped

    def cross(self, one: Mask, other: Mask, rng: np.random.Generator) -> Mask:
        """What both keep stays; of what one keeps, as much as makes up the number, at random."""
        child = one & other
        for pool in self._pools:
            either = pool.start + np.flatnonzero(one[pool] ^ other[pool])
            child[rng.choice(either, len(either) // 2, replace=False)] = True
        return child

    def _increases(self, mask: Mask) -> Floats:
        """By how much the loss is expected to rise when a unit's state changes, (units,)."""
        a, b = (1 - memory**self._looks for memory in _MEMORY)
        slope, square = self._slope / a, self._square / b
        return square / 2 + np.where(mask, -slope, slope)


def _count(share: float, units: int) -> int:
    return min(units, max(1, round(share * units)))


def _lowest(candidates: NDArray[np.intp], order: Floats, count: int) -> NDArray[np.intp]:
    return candidates[np.argpartition(order[candidates], count - 1)[:count]]
