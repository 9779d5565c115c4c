"""Weights that become zero, and stay so while the network is trained on.

Shapes do not change: what zeros are worth is the size of a file that leaves them out, and the speed on
hardware that skips them. The pattern 2:4 lies along the input channels, as TensorRT and NVIDIA's tensor cores
read weights; a layer whose input channels (of one group) are no multiple of four stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from raysearch.basics.failures import UserError
from raysearch.search_spaces.keys import part_of
from raysearch.search_spaces.pruning.weight_sparsity import SparsityPlan
from raysearch.trainables.data.batches import Collate, Examples
from raysearch.trainables.masks.mask_loss import Loss
from raysearch.trainables.masks.mask_search import search_masks
from raysearch.trainables.pruning.gradients import loss_gradients
from raysearch.trainables.task import cross_entropy

_EVALUATIONS, _SIZE = 200, 256


def sparsify(
    model: nn.Module,
    plan: SparsityPlan,
    *,
    exclude: Sequence[str] = (),
    examples: Examples | None = None,
    collate: Collate | None = None,
    loss: Loss = cross_entropy,
) -> None:
    """Set weights of convolutions and linear layers to zero, in place, layer by layer.

    Args:
        model: with the weights that the criterion looks at.
        plan: shares, pattern and criterion.
        exclude: layers, or parts with all their layers, that stay whole.
        examples: for training; what "taylor" and "annealing" look at, and only they.
        collate: makes a batch of a list of examples.
        loss: of outputs and targets, for the same.

    Raises:
        UserError: the criterion looks at examples, and none are given.
    """
    shares = {
        name: plan.ratio(name)
        for name, layer in model.named_modules()
        if _is_sparse(layer, plan.pattern) and plan.ratio(name) > 0 and part_of(name, exclude) is None
    }
    if not shares:
        return
    if plan.criterion == "magnitude":
        scores = _magnitudes(model, shares)
    elif examples is None:
        raise UserError(f"criterion {plan.criterion!r} looks at examples, and none are given")
    elif plan.criterion == "taylor":
        scores = _slopes(model, shares, examples, collate, loss)
    else:
        scores = _searched(model, shares, examples, loss)
    keep = _two_of_four if plan.pattern == "2:4" else _largest
    with torch.no_grad():
        for name, share in shares.items():
            model.get_submodule(name).weight.mul_(keep(scores[name], share))  # type: ignore[operator]


def hold_zeros(optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Have weights that are zero at the next step stay so, whatever the optimiser does.

    Args:
        optimizer: of the module's parameters.
        module: matrices and kernels with some zeros are held, those of nothing but zeros are not: they are
            to be learnt.
    """
    masks: list[tuple[nn.Parameter, Tensor]] = []

    def look(*_: Any) -> None:  # only now: until then a checkpoint may be loaded
        every = [] if masks else [(p, p != 0) for p in module.parameters() if p.dim() > 1]
        masks.extend((p, mask) for p, mask in every if mask.any() and not mask.all())

    @torch.no_grad()
    def again(*_: Any) -> None:
        for parameter, mask in masks:
            parameter.mul_(mask)

    optimizer.register_step_pre_hook(look)
    optimizer.register_step_post_hook(again)


def _is_sparse(layer: nn.Module, pattern: str) -> bool:
    if isinstance(layer, _ConvTransposeNd) or not isinstance(layer, (_ConvNd, nn.Linear)):
        return False
    if "weight" not in layer._parameters:  # it is computed of others
        return False
    return pattern != "2:4" or layer.weight.shape[1] % 4 == 0


def _magnitudes(model: nn.Module, shares: Mapping[str, float]) -> dict[str, Tensor]:
    return {name: model.get_submodule(name).weight.detach().abs() for name in shares}  # type: ignore[operator]


def _slopes(
    model: nn.Module,
    shares: Mapping[str, float],
    examples: Examples,
    collate: Collate | None,
    loss: Loss,
) -> dict[str, Tensor]:
    """Weight times gradient: how the loss changes without it (Molchanov et al., CVPR 2019, for weights)."""
    found = loss_gradients(model, "taylor", examples, collate, loss)
    gradients = dict(zip(model.parameters(), found, strict=True))
    weights = {name: model.get_submodule(name).weight for name in shares}
    return {name: (weight.detach() * gradients[weight]).abs() for name, weight in weights.items()}  # type: ignore


def _searched(
    model: nn.Module, shares: Mapping[str, float], examples: Examples, loss: Loss
) -> dict[str, Tensor]:
    """What the search keeps comes first, then the largest."""
    found = search_masks(
        model,
        examples,
        shares,
        evaluations=_EVALUATIONS,
        size=_SIZE,
        loss=loss,
        seed=int(torch.randint(2**31, ())),
    )
    largest = _magnitudes(model, shares)
    return {
        name: found.masks[name].to(scores.device) * (1 + scores.max()) + scores
        for name, scores in largest.items()
    }


def _largest(scores: Tensor, share: float) -> Tensor:
    """A mask of the scores' shape without a share of the lowest; at least one weight stays."""
    dropped = min(round(share * scores.numel()), scores.numel() - 1)
    mask = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().argsort(stable=True)[:dropped]] = False
    return mask.view_as(scores)


def _two_of_four(scores: Tensor, _: float) -> Tensor:
    """A mask that keeps the two highest of every four along axis 1."""
    turned = scores.transpose(0, 1)
    fours = turned.reshape(-1, 4, *turned.shape[1:])  # (fours, 4, outputs, ...)
    kept = fours.argsort(dim=1, descending=True, stable=True)[:, :2]
    mask = torch.zeros_like(fours, dtype=torch.bool).scatter_(1, kept, True)
    return mask.flatten(0, 1).transpose(0, 1)
