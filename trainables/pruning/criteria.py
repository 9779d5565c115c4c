"""How much each channel of a dependency group matters.

References:
    He, Y., Liu, P., Wang, Z., Hu, Z., & Yang, Y. (2019). Filter pruning via geometric median for deep
        convolutional neural networks acceleration. CVPR.
    Fang, G., Ma, X., Song, M., Mi, M. B., & Wang, X. (2023). DepGraph: towards any structural pruning. CVPR.
    LeCun, Y., Denker, J., & Solla, S. (1989). Optimal brain damage. NeurIPS.
    Lee, J., Park, S., Mo, S., Ahn, S., & Shin, J. (2021). Layer-adaptive sparsity for the magnitude-based
        pruning. ICLR.
    Li, H., Kadav, A., Durdanovic, I., Samet, H., & Graf, H. P. (2017). Pruning filters for efficient
        ConvNets. ICLR.
    Liu, Z., Li, J., Shen, Z., Huang, G., Yan, S., & Zhang, C. (2017). Learning efficient convolutional
        networks through network slimming. ICCV.
    Molchanov, P., Mallya, A., Tyree, S., Frosio, I., & Kautz, J. (2019). Importance estimation for neural
        network pruning. CVPR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raysearch.basics.failures import UserError


class _LayerwiseLamp(tp.importance.GroupMagnitudeImportance):  # type: ignore[misc]
    """LAMP by layer, as it was published; torch-pruning's is of the group's sums, which keeps their order."""

    def _reduce(self, group_imp: list[Tensor], group_idxs: list[Any]) -> Tensor:
        return super()._reduce([lamp(scores) for scores in group_imp], group_idxs)  # type: ignore[no-any-return]


_IMPORTANCES: dict[str, Callable[[], Any]] = {
    "magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=2, normalizer=None),
    "taylor": lambda: tp.importance.GroupTaylorImportance(normalizer=None),
    # Its own way to accumulate gradients keeps the last example's alone: ``lent_gradients`` sums them.
    "hessian": lambda: tp.importance.GroupHessianImportance(normalizer=None),
    "batch_norm_scale": lambda: tp.importance.BNScaleImportance(normalizer=None),
    "lamp": lambda: _LayerwiseLamp(p=2, normalizer=None),
    # With p=2 it would compare squared weights.
    "fpgm": lambda: tp.importance.FPGMImportance(p=1, normalizer=None),
}


def channel_scores(group: Any, criterion: str, channels: int) -> Tensor:
    """The score of each channel of a group, shape (channels,), >= 0; the lowest go first.

    Scores are means over the layers that make or read the channels. Where a criterion says nothing of a group
    (one without batch norm, or with untrained scales, all alike), its score is that of "magnitude", and where
    that says nothing, the root's squared norm.

    Args:
        group: torch-pruning's group with all channels of its root layer.
        criterion: "magnitude": the squared L2 norm (Li et al., for groups Fang et al.);
            "random": drawn from torch's generator;
            "taylor": the sum of |weight x gradient| (Molchanov et al.);
            "hessian": the sum of weight² x squared gradient (LeCun et al.);
            "batch_norm_scale": the absolute scales of its batch norms (Liu et al.);
            "lamp": the squared norm over the sum of the layer's larger ones (Lee et al.). The order of one
            layer's channels is magnitude's; in a group of several, each layer has the same say;
            "fpgm": the distance to all other channels of the layer, of absolute weights (He et al.).
            Those of "taylor" and "hessian" are read from ``grad``, see ``lent_gradients``.
        channels: of the root layer.

    Raises:
        ValueError: an unknown criterion.
    """
    if criterion == "random":
        return torch.rand(channels)
    if criterion not in _IMPORTANCES:
        known = ", ".join(("random", *_IMPORTANCES))
        raise UserError(f"pruning criterion {criterion!r} is not one of {known}")
    for rule in (criterion, "magnitude"):
        scores = _IMPORTANCES[rule]()(group)
        if scores is not None and len(scores) == channels and (rule == "magnitude" or _tells(scores)):
            return scores.detach().cpu()  # type: ignore[no-any-return]
    # Nothing in the group has weights that map one to one to the root's channels.
    layer = group[0].dep.target.module
    return layer.weight.detach().flatten(1).square().sum(1).cpu()  # type: ignore[no-any-return]


def check_batch_norm(model: nn.Module) -> None:
    """Refuse a model that "batch_norm_scale" says nothing of.

    Raises:
        UserError: it has no batch norm with scales.
    """
    if not any(isinstance(m, _BatchNorm) and m.affine for m in model.modules()):
        raise UserError(
            f"criterion 'batch_norm_scale' reads the scales of batch norms, and the model "
            f"({type(model).__name__}) has none: choose magnitude or taylor"
        )


def lamp(scores: Tensor) -> Tensor:
    """Each score over the sum of all that are as large or larger, (n,); 0 where that is 0."""
    order = scores.argsort()
    ascending = scores[order]
    larger = ascending.flip(0).cumsum(0).flip(0)
    return torch.empty_like(scores).index_copy(0, order, (ascending / larger).nan_to_num())


def _tells(scores: Tensor) -> bool:
    """Whether scores are numbers that differ."""
    return bool(scores.isfinite().all()) and bool((scores != scores[0]).any())
