"""Pruning masks by local search, for any model and any of its layers, beside masks by rules.

``search_masks`` keeps a given share of the units, and starts from the masks of a rule: what a user wants.
``trade_off_masks`` weighs loss against sparsity one layer after another from random masks: what the published
study did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from raysearch.basics.failures import UserError
from raysearch.networks.copying import copy_of
from raysearch.trainables.data.batches import Examples, batches
from raysearch.trainables.data.batches import count as number_of
from raysearch.trainables.masks.annealing import Annealing
from raysearch.trainables.masks.genetic import Genetic
from raysearch.trainables.masks.landscapes import Floats, Swaps, TradeOff, trade_off
from raysearch.trainables.masks.mask_loss import Loss, MaskedLoss
from raysearch.trainables.masks.masks import Mask, Units, channel_units, weight_units
from raysearch.trainables.task import cross_entropy

RULES = ("magnitude", "taylor", "random")
EXAMPLES, BYTES = 10_000, 2**30  # as many, and of that size together, are looked at
PARTS, LEAST_PART = 20, 50  # in how many parts, of how many examples, two masks are compared in the end
LEAST = 8  # evaluations of a search: the start's, a gradient, the start's again, three neighbours'

Method = Annealing | Genetic


@dataclass(frozen=True)
class Masks:
    """Masks, and what they cost.

    Args:
        masks: by layer, boolean, True where the unit stays; of a weight's shape, or (channels,).
        loss: on all examples that were looked at, of logits as the search saw them (rescaled, maybe).
        sparsity: the share of units that are dropped, in [0, 1].
        unpruned: the same without masks.
    """

    masks: Mapping[str, Tensor]
    loss: float
    sparsity: float
    unpruned: float

    @property
    def trade_off(self) -> float:
        """The squared increase of the loss over the sparsity; lower is better."""
        return float(trade_off(np.array(self.loss - self.unpruned), np.array(self.sparsity)))


@dataclass(frozen=True)
class MaskSearch(Masks):
    """What a search found.

    Args:
        curves: of each search, named by its layer (or "all layers"), (evaluations, cost of the best mask so
            far). Where each iteration sees other examples, the cost is of the present mask on the present
            examples.
        evaluations: how many were spent.
        rules: masks of the same sparsity (of channels the same share of each layer, to the nearest one) by
            magnitude, by Taylor expansion and at random.
    """

    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    evaluations: int = 0
    rules: Mapping[str, Masks] = field(default_factory=dict)


def search_masks(
    model: nn.Module,
    examples: Examples,
    sparsity: float | Mapping[str, float],
    layers: Sequence[str] | None = None,
    *,
    channels: bool = False,
    start: str = "magnitude",
    guided: bool = True,
    method: Method | None = None,
    evaluations: int = 1000,
    size: int = 1000,
    loss: Loss = cross_entropy,
    rescale: bool = True,
    seed: int = 0,
) -> MaskSearch:
    """Masks of a given sparsity, of all layers at once.

    Given one sparsity, weights are dropped from all layers alike, so that layers lose different shares; of
    each layer's channels the same share is dropped. Unless what the search found is better than its start on
    all examples, beyond the noise, the start is returned: where a rule loses nothing, there is nothing to be
    gained.

    Args:
        model: trained; it is not changed.
        examples: for training, of which at most 10,000 (and 1 GB), drawn at random, are looked at.
        sparsity: the share of units to drop, in (0, 1); or each layer's own, in [0, 1), by name.
        layers: names of layers, or of the root layers of dependency groups; left out, all. Not
            given where ``sparsity`` names them.
        channels: whether channels are dropped, with all that depends on them, or single weights.
        start: the rule that the search starts from: "magnitude", "taylor" or "random".
        guided: whether gradients choose which units are swapped (a gradient counts as three evaluations), or
            chance.
        method: left out, simulated annealing.
        evaluations: how many masks are evaluated; the comparison with the rules comes after.
        size: how many examples an evaluation sees.
        loss: of logits and labels.
        rescale: whether logits are brought to the unpruned network's mean and spread before the loss. Pruning
            shrinks them, which leaves the classes as they are.
        seed: the same seed gives the same masks.

    Raises:
        ValueError: an argument out of its range, an unknown layer, one without a weight, or a model whose
            loss is not finite.
    """
    if start not in RULES:
        raise UserError(f"start is {start!r}: give 'magnitude', 'taylor' or 'random'")
    _check_sparsity(sparsity)
    if isinstance(sparsity, Mapping):
        if layers is not None:
            raise UserError("layers is given beside a sparsity by layer: leave layers out")
        layers = list(sparsity)
    masked = _masked_loss(model, examples, layers, channels, size, loss, seed, rescale)
    _check_evaluations(evaluations, 1)
    rng = np.random.default_rng(seed)
    kept = _kept(masked.units, sparsity, channels)
    rules = _rules(masked, kept, rng)
    names = list(masked.units.sizes)
    landscape = Swaps(masked, rules[start], names, [pool for pool, _ in kept], guided=guided)
    walk = (method or Annealing()).run(landscape, rules[start], evaluations, rng)
    (found, *others), losses = _measured(masked, [walk.mask, *rules.values()])
    by_rule = dict(zip(rules, others, strict=True))
    best = found if _surely_lower(losses[:, 0], losses[:, 1 + list(rules).index(start)]) else by_rule[start]
    return MaskSearch(
        **vars(best), curves={"all layers": walk.curve}, evaluations=walk.evaluations, rules=by_rule
    )


def trade_off_masks(
    model: nn.Module,
    examples: Examples,
    layers: Sequence[str] | None = None,
    *,
    channels: bool = False,
    max_loss: float = 1.0,
    method: Method | None = None,
    evaluations: int = 1000,
    size: int = 1000,
    loss: Loss = cross_entropy,
    seed: int = 0,
) -> MaskSearch:
    """Masks that weigh loss against sparsity, one layer after another, first to last, from random ones.

    A layer's mask minimises ``trade_off`` with the layers before it masked and those after it whole. An
    increase of the loss beyond the layer's allowance is punished; the i-th of n layers is allowed i / n of
    ``max_loss``. By the published formula a mask that keeps all units costs nothing, so a layer of few units
    may end whole; ``search_masks`` takes the sparsity that is asked for.

    Args:
        model: trained; it is not changed.
        examples: for training, of which at most 10,000 (and 1 GB), drawn at random, are looked at.
        layers: as for ``search_masks``, in the order in which they are searched.
        channels: whether channels are dropped, with all that depends on them, or single weights.
        max_loss: the increase of the loss that is allowed at the last layer, > 0.
        method: left out, simulated annealing.
        evaluations: for all layers together, each of which gets as many.
        size: how many examples the evaluations see, always the same ones.
        loss: of logits and labels.
        seed: the same seed gives the same masks.

    Raises:
        ValueError: an argument out of its range, an unknown layer, one without a weight, or a model whose
            loss is not finite.
    """
    if not max_loss > 0:
        raise UserError(f"max_loss is {max_loss}: give the increase of the loss that is allowed, above 0")
    masked = _masked_loss(model, examples, layers, channels, size, loss, seed)
    _check_evaluations(evaluations, len(masked.units.sizes))
    units, rng = masked.units, np.random.default_rng(seed)
    mask = np.ones(units.total, bool)
    unpruned = float(masked.losses(mask[None])[0])
    curves, spent = {}, 0
    for i, (layer, where) in enumerate(units.slices.items()):
        landscape = TradeOff(masked, mask.copy(), layer, unpruned, max_loss * (i + 1) / len(units.sizes))
        begin = rng.random(units.sizes[layer]) < 0.5
        walk = (method or Annealing()).run(landscape, begin, evaluations // len(units.sizes), rng)
        mask[where], curves[layer], spent = walk.mask, walk.curve, spent + walk.evaluations
    kept = _kept(units, float(1 - mask.mean()), channels)
    rules = _rules(masked, kept, rng)
    (found, *others), _ = _measured(masked, [mask, *rules.values()])
    by_rule = dict(zip(rules, others, strict=True))
    return MaskSearch(**vars(found), curves=curves, evaluations=spent, rules=by_rule)


def _check_sparsity(sparsity: float | Mapping[str, float]) -> None:
    if isinstance(sparsity, Mapping):
        for layer, share in sparsity.items():
            if not 0 <= share < 1:
                raise UserError(
                    f"sparsity of {layer!r} is {share}: give the share of its units to drop, in [0, 1)"
                )
    elif not 0 < sparsity < 1:
        raise UserError(f"sparsity is {sparsity}: give the share of weights or channels to drop, in (0, 1)")


def _check_evaluations(evaluations: int, searches: int) -> None:
    if evaluations < LEAST * searches:
        raise UserError(
            f"evaluations is {evaluations}: give at least {LEAST} a search, {LEAST * searches} here"
        )


def _masked_loss(
    model: nn.Module,
    examples: Examples,
    layers: Sequence[str] | None,
    channels: bool,
    size: int,
    loss: Loss,
    seed: int,
    rescale: bool = False,
) -> MaskedLoss:
    """The loss on some of the examples, drawn at random; finite for the unpruned model."""
    if size < 1:
        raise UserError(f"size is {size}: an evaluation sees at least 1 example")
    if not number_of(examples):
        raise UserError("examples is empty: give some of the examples for training")
    x, y = _drawn(examples, seed)
    units = channel_units(model, x[:1], layers) if channels else weight_units(model, layers)
    masked = MaskedLoss(model, units, x, y, loss, size, rescale=rescale)
    if not np.isfinite(masked.losses(np.ones((1, units.total), bool))).all():
        raise UserError("the unpruned model's loss on the examples is not finite: train it, or mend them")
    return masked


def _drawn(examples: Examples, seed: int) -> tuple[Tensor, Tensor]:
    one, _ = next(batches(examples, 1))
    most = min(EXAMPLES, max(1, BYTES // one.nbytes))
    rows = np.random.default_rng(seed).permutation(number_of(examples))[:most].tolist()
    return next(batches(Subset(examples, rows), len(rows)))  # type: ignore[arg-type]


def _kept(units: Units, sparsity: float | Mapping[str, float], channels: bool) -> list[tuple[slice, int]]:
    """The parts of the flat vector that are searched with a fixed number of units kept, and those numbers."""
    if not channels and not isinstance(sparsity, Mapping):
        return [(slice(0, units.total), max(1, units.total - round(sparsity * units.total)))]
    shares = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(units.sizes, sparsity)
    counts = {n: size - round(shares.get(n, 0.0) * size) for n, size in units.sizes.items()}
    return [(where, max(1, counts[n])) for n, where in units.slices.items()]


def _rules(
    masked: MaskedLoss, kept: Sequence[tuple[slice, int]], rng: np.random.Generator
) -> dict[str, Mask]:
    """Each rule's mask with the same numbers of units kept."""
    total = masked.units.total
    scores = {
        "magnitude": masked.magnitudes(),
        "taylor": masked.gains(np.ones(total, bool))[1],
        "random": rng.random(total),
    }
    return {rule: _highest(score, kept) for rule, score in scores.items()}


def _highest(scores: Floats, kept: Sequence[tuple[slice, int]]) -> Mask:
    mask = np.zeros(len(scores), bool)
    for pool, count in kept:
        mask[pool.start + np.argsort(-scores[pool], kind="stable")[:count]] = True
    return mask


def _measured(masked: MaskedLoss, masks: Sequence[Mask]) -> tuple[list[Masks], Floats]:
    """The masks with their losses on all examples, and these losses on each part of them, (parts, masks)."""
    stacked, units = np.stack([np.ones_like(masks[0]), *masks]), masked.units
    count = len(masked.x)
    parts = np.array_split(np.arange(count), min(PARTS, max(1, count // LEAST_PART)))
    losses = np.array([masked.on(part).losses(stacked) for part in parts])
    unpruned, *means = np.average(losses, axis=0, weights=[len(p) for p in parts]).tolist()
    measured = [
        Masks(units.split(mask), loss, float(1 - mask.mean()), unpruned)
        for mask, loss in zip(masks, means, strict=True)
    ]
    return measured, losses[:, 1:]


def _surely_lower(one: Floats, other: Floats) -> bool:
    """Whether losses on parts of the examples, (parts,), are lower by two standard errors of their mean."""
    difference = other - one
    error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
    return bool(difference.mean() > 2 * error)


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a model with the dropped weights set to 0; masks have the weights' shapes.

    Raises:
        ValueError: a mask of another shape, such as one of channels: ``remove_masked`` takes those.
    """
    pruned = copy_of(model)
    with torch.no_grad():
        for name, mask in masks.items():
            weight = pruned.get_submodule(name).get_parameter("weight")
            if mask.shape != weight.shape:
                given, own = tuple(mask.shape), tuple(weight.shape)
                raise UserError(
                    f"the mask of {name!r} has shape {given} and its weight {own}: give a mask of weights; "
                    "remove_masked takes masks of channels"
                )
            weight.mul_(mask.to(weight.device))
    return pruned
