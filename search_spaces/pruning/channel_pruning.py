"""How many channels are removed: one ratio for each part, and the criterion that picks the channels."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from raysearch.basics import extras
from raysearch.basics.failures import UserError
from raysearch.basics.parts import is_heads
from raysearch.search_spaces.architectures import prunable_parts
from raysearch.search_spaces.arguments import names, one_of
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.keys import as_float, as_integer, as_mapping, check_keys, part_of
from raysearch.search_spaces.pruning.steps import decode_steps, steps_domain

if TYPE_CHECKING:
    from torch import nn

    from raysearch.networks.nests import Nest

GRADIENTS = ("taylor", "hessian")
SEARCHED = ("annealing", "genetic")
FROM_EXAMPLES = (*GRADIENTS, *SEARCHED)
CRITERIA = ("magnitude", "random", *GRADIENTS, "batch_norm_scale", "lamp", "fpgm", *SEARCHED)
NNI_PLAIN = ("nni_level", "nni_l1norm", "nni_l2norm", "nni_fpgm")
NNI_TRAINED = ("nni_taylor", "nni_slim", "nni_movement", "nni_linear", "nni_agp")
NNI = (*NNI_PLAIN, *NNI_TRAINED)
"""NNI's pruners, with the extra ``nni``; those of the second row train a copy of the network."""

STEP = 0.05
MULTIPLE = 8


@dataclass(frozen=True)
class PruningPlan:
    """The share of channels to remove from each part, in [0, 1), and in how many steps."""

    ratios: Mapping[str, float] = field(default_factory=dict)
    criterion: str = "magnitude"
    multiple: int = MULTIPLE
    steps: int = 1

    def ratio(self, layer: str) -> float:
        """The ratio of the part that a layer belongs to; 0 where it belongs to none."""
        part = part_of(layer, self.ratios)
        return 0.0 if part is None else self.ratios[part]


def multiple_of(group: str, multiple: int) -> int:
    """What the kept channels of a group are multiples of: heads go one by one."""
    return 1 if is_heads(group) else multiple


def kept_channels(width: int, ratio: float, multiple: int) -> int:
    """How many of ``width`` channels or heads stay: rounded to a multiple, at least one, never more than all.

    A ratio of 0 keeps all, also where the width is no multiple; so does one that 1 less it does not feel.
    """
    if 1 - ratio >= 1:
        return width
    return min(width, max(multiple, multiple * round(width * (1 - ratio) / multiple)))


@overload
def channel_pruning(
    max_ratio: float = ...,
    multiple: int | None = ...,
    criterion: Any = ...,
    steps: Any = ...,
    over: None = ...,
    exclude: Sequence[str] = ...,
) -> Deferred: ...
@overload
def channel_pruning(
    max_ratio: float = ...,
    multiple: int | None = ...,
    criterion: Any = ...,
    steps: Any = ...,
    *,
    over: Any,
    exclude: Sequence[str] = ...,
) -> dict[str, Any]: ...
def channel_pruning(
    max_ratio: float = 0.8,
    multiple: int | None = None,
    criterion: str | tuple[str, ...] = ("magnitude",),
    steps: int | tuple[int, int] = 1,
    over: Any = None,
    exclude: Sequence[str] = (),
) -> dict[str, Any] | Deferred:
    """A space of channel-pruning ratios, each from 0 to ``max_ratio`` in steps of 0.05.

    Args:
        max_ratio: the largest share of channels to remove, in (0, 1).
        multiple: kept channels are multiples of this; None takes what the targets like (see ``bind``).
        criterion: how the channels to keep are picked, one or several to choose from: "magnitude" (largest
            L2 norm over the dependency group), "random"; "taylor" and "hessian" (what the loss on 256
            training examples would rise by, of first and second order; the latter runs them one by one);
            "batch_norm_scale" (all alike before training, and then magnitude's); "lamp" and "fpgm" (norms
            and distances layer by layer); or by a search for those that keep the loss on training examples
            low, "annealing" or "genetic"; or by the masks of one of NNI's pruners (extra ``nni``):
            "nni_level", "nni_l1norm", "nni_l2norm", "nni_fpgm", and after 32 steps of training "nni_taylor",
            "nni_slim", "nni_movement", "nni_linear", "nni_agp". Each group loses the share that its ratio
            says, so channels are only compared within their group, also by criteria that were published for a
            whole network.
        steps: in how many steps over the trial's float epochs the channels go, or the range: from one to the
            next, in which the network is trained, by what is then left of the ratio as a cubic (Zhu & Gupta,
            2017). What is measured before training has lost all of them.
        over: an architecture space, giving a ratio a stage, or (model, example input), giving a ratio a
            dependency group under the name of its root layer (and one for the heads of each attention,
            "encoder.0.attention.(heads)", of which whole ones go), or a list of these. Left out, a Study
            supplies it.
        exclude: layers, or parts with all their layers, that keep their output channels.

    Returns:
        Nested Tune domains, or a ``Deferred`` where ``over`` is left out. The output layer is never pruned. A
        model that torch-pruning cannot take apart gets no ratio, with a warning that says why.

    Raises:
        ValueError: a bad argument, a criterion whose extra is missing, or a model that does not run.
    """
    if not isinstance(max_ratio, (int, float)) or not STEP <= max_ratio < 1:
        raise UserError(f"max_ratio={max_ratio!r} is not in [{STEP}, 1)")
    if multiple is not None and (not isinstance(multiple, int) or multiple < 1):
        raise UserError(f"multiple={multiple!r} must be a whole number of at least 1")
    criteria = one_of("criterion", criterion, (*CRITERIA, *NNI))
    check_installed((criterion,) if isinstance(criterion, str) else criterion)
    if over is None:
        keywords = {"max_ratio": max_ratio, "multiple": multiple, "criterion": criterion, "steps": steps}
        return Deferred(channel_pruning, keywords, exclude=names(exclude))
    space: dict[str, Any] = {"criterion": criteria, **steps_domain(steps)}
    if multiple is not None:
        space["multiple"] = multiple
    space["ratios"] = {part: _ratio(max_ratio) for part in _parts(over, exclude)}
    return space


def check_installed(criteria: Iterable[str]) -> None:
    """Refuse criteria whose package is not installed.

    Raises:
        UserError: one of NNI's, without the extra ``nni``.
    """
    if any(criterion in NNI for criterion in criteria):
        extras.check("nni", "nni")


def _ratio(max_ratio: float) -> Any:
    from ray import tune

    return tune.quniform(0.0, round(STEP * int(max_ratio / STEP + 1e-9), 4), STEP)


def _parts(over: Any, exclude: Sequence[str]) -> tuple[str, ...]:
    if isinstance(over, Mapping):
        return tuple(part for part in prunable_parts(over) if part_of(part, exclude) is None)
    if isinstance(over, list):
        return tuple(part for part in over if part_of(part, exclude) is None)
    model, example_input = over
    return tuple(groups_of(model, example_input, exclude))


def groups_of(model: nn.Module, example_input: Nest, exclude: Sequence[str]) -> dict[str, int]:
    """The prunable groups of a model, {root layer: output channels}.

    Where it has none there is a warning: it can still be searched in all else.
    """
    from raysearch.networks.groups import CannotPrune, prunable_groups

    try:
        return prunable_groups(model, example_input, exclude=exclude)
    except CannotPrune as error:
        warnings.warn(f"nothing is pruned: {error}", stacklevel=2)
        return {}


def decode_pruning(
    config: Mapping[str, Any], widths: Mapping[str, int], multiple: int = MULTIPLE
) -> PruningPlan | None:
    """The plan of a pruning config, its ratios rounded to what the channel multiple allows.

    Args:
        config: "criterion", "multiple", "ratios" and "steps"; all may be absent.
        widths: output channels of each prunable group by its root layer (or of each part, where all groups of
            a part are equally wide). Ratios of parts without any group are inactive and dropped.
        multiple: what holds where the config names none.

    Returns:
        The plan with the parts that lose channels, or None where nothing is pruned.

    Raises:
        ValueError: an unknown key or criterion, or a ratio outside [0, 1).
    """
    check_keys(config, ("criterion", "multiple", "ratios", "steps"), "pruning")
    steps = decode_steps(config.get("steps", 1), "pruning/steps")
    criterion = str(config.get("criterion", "magnitude"))
    if criterion not in (*CRITERIA, *NNI):
        raise UserError(f"pruning/criterion is {criterion!r}, not one of {', '.join((*CRITERIA, *NNI))}")
    multiple = as_integer(config.get("multiple", multiple), "pruning/multiple")
    if multiple < 1:
        raise UserError(f"pruning/multiple is {multiple}: it must be at least 1")
    ratios = as_mapping(config.get("ratios", {}), "pruning/ratios")
    inside: dict[str | None, set[tuple[int, int]]] = defaultdict(set)
    for layer, width in widths.items():
        inside[part_of(layer, ratios)].add((width, multiple_of(layer, multiple)))
    rounded = {}
    for part, ratio in ratios.items():
        if not 0 <= as_float(ratio, f"pruning/ratios/{part}") < 1:
            raise UserError(f"pruning/ratios/{part} is {ratio}, not in [0, 1)")
        value = _rounded(float(ratio), inside[part])
        if value > 0:
            rounded[part] = value
    return PruningPlan(rounded, criterion, multiple, steps) if rounded else None


def _rounded(ratio: float, groups: set[tuple[int, int]]) -> float:
    """The ratio that the kept channels amount to.

    Where groups of several widths share it, the smallest step of the space that keeps as many of each, or
    else the smallest hundredth, or part in a million.

    Args:
        ratio: in [0, 1).
        groups: (width, multiple) of those that share it.
    """
    kept = {(w, multiple): kept_channels(w, ratio, multiple) for w, multiple in groups}
    if all(k == w for (w, _), k in kept.items()):
        return 0.0
    if len(kept) > 1:
        found = (_smallest(kept, parts) for parts in (round(1 / STEP), 100, 10**6))
        return next(filter(None, found), ratio)
    return round(1 - next(k / w for (w, _), k in kept.items()), 6)


def _smallest(kept: Mapping[tuple[int, int], int], parts: int) -> float | None:
    """The smallest share in so many parts that keeps these channels; None if there is none."""

    def keeps(share: int) -> list[int]:
        return [kept_channels(width, share / parts, multiple) for width, multiple in kept]

    low, high, wanted = 1, parts - 1, sum(kept.values())
    while low < high:  # the larger the share, the fewer are kept
        middle = (low + high) // 2
        low, high = (middle + 1, high) if sum(keeps(middle)) > wanted else (low, middle)
    return low / parts if keeps(low) == list(kept.values()) else None


def encode_pruning(plan: PruningPlan) -> dict[str, Any]:
    """The canonical config of a plan."""
    steps = {"steps": plan.steps} if plan.steps > 1 else {}
    return {"criterion": plan.criterion, "multiple": plan.multiple, "ratios": dict(plan.ratios), **steps}
