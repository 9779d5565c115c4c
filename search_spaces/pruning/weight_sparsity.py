"""Which share of the weights is zero, part by part, and in which pattern; shapes stay as they are.

References:
    Han, S., Pool, J., Tran, J., & Dally, W. (2015). Learning both weights and connections for efficient
        neural networks. (unstructured)
    Mishra, A., et al. (2021). Accelerating sparse deep neural networks. arXiv 2104.08378. (2:4)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from raysearch.basics.failures import UserError
from raysearch.search_spaces.architectures import possible_parts
from raysearch.search_spaces.arguments import names, one_of
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.keys import as_float, as_mapping, check_keys, part_of
from raysearch.search_spaces.pruning.steps import decode_steps, steps_domain

PATTERNS = ("none", "unstructured", "2:4")
CRITERIA = ("magnitude", "taylor", "annealing")
STEP = 0.05


@dataclass(frozen=True)
class SparsityPlan:
    """Weights that are zero.

    Args:
        pattern: "unstructured", any weights of a layer; or "2:4", two of every four along the input channels.
        criterion: how they are picked; see ``weight_sparsity``.
        ratios: the share of each part's weights, in (0, 1); of the pattern 2:4 .5 for each.
        steps: in how many steps they become so; 2:4 in one.
    """

    pattern: str
    criterion: str = "magnitude"
    ratios: Mapping[str, float] = field(default_factory=dict)
    steps: int = 1

    def ratio(self, layer: str) -> float:
        """The share of a layer's weights; 0 where it belongs to no part."""
        part = part_of(layer, self.ratios)
        return 0.0 if part is None else self.ratios[part]


@overload
def weight_sparsity(
    max_ratio: float = ...,
    pattern: Any = ...,
    criterion: Any = ...,
    steps: Any = ...,
    over: None = ...,
    exclude: Sequence[str] = ...,
) -> Deferred: ...
@overload
def weight_sparsity(
    max_ratio: float = ...,
    pattern: Any = ...,
    criterion: Any = ...,
    steps: Any = ...,
    *,
    over: Any,
    exclude: Sequence[str] = ...,
) -> dict[str, Any]: ...
def weight_sparsity(
    max_ratio: float = 0.9,
    pattern: str | tuple[str, ...] = PATTERNS,
    criterion: str | tuple[str, ...] = ("magnitude",),
    steps: int | tuple[int, int] = 1,
    over: Any = None,
    exclude: Sequence[str] = (),
) -> dict[str, Any] | Deferred:
    """A space of weights that are zero; joined by ``|`` with ``channel_pruning`` it is one of both.

    The zeros stay zeros in training. They count in ``nonzero_rate`` and in ``size_mb``; what they speed up,
    the target says: on CPUs nothing.

    Args:
        max_ratio: the largest share of unstructured zeros, in (0, 1), in steps of 0.05 from 0 on.
        pattern: one or several of "none", "unstructured" and "2:4"; see ``SparsityPlan``.
        criterion: which weights become zero, one or several to choose from: the smallest ("magnitude"), those
            by which the loss changes least to first order ("taylor"), or those that a search finds
            ("annealing").
        steps: in how many steps over the trial's float epochs unstructured weights become zero, or the range;
            see ``channel_pruning``.
        over: an architecture space, giving a share a stage, or (model, example input), giving a share a
            layer, or a list of these. Left out, a Study supplies it.
        exclude: layers, or parts with all their layers, that stay whole.

    Returns:
        Nested Tune domains, or a ``Deferred`` where ``over`` is left out.

    Raises:
        ValueError: a bad argument.
    """
    from ray import tune

    if isinstance(max_ratio, bool) or not isinstance(max_ratio, (int, float)) or not STEP <= max_ratio < 1:
        raise UserError(f"max_ratio={max_ratio!r} is not in [{STEP}, 1)")
    patterns, criteria = one_of("pattern", pattern, PATTERNS), one_of("criterion", criterion, CRITERIA)
    if over is None:
        keywords = {"max_ratio": max_ratio, "pattern": pattern, "criterion": criterion, "steps": steps}
        return Deferred(weight_sparsity, keywords, by_layers=True, exclude=names(exclude))
    parts = list(_parts(over, exclude))
    found: dict[str, Any] = {"pattern": patterns, "criterion": criteria, "parts": parts}
    if "unstructured" in (pattern if isinstance(pattern, (tuple, list)) else (pattern,)):
        highest = round(STEP * int(max_ratio / STEP + 1e-9), 4)
        found |= steps_domain(steps)
        found["ratios"] = {part: tune.quniform(0.0, highest, STEP) for part in parts}
    return {"sparsity": found}


def _parts(over: Any, exclude: Sequence[str]) -> tuple[str, ...]:
    if isinstance(over, Mapping):
        return tuple(part for part in possible_parts(over) if part_of(part, exclude) is None)
    if isinstance(over, list):
        return tuple(part for part in over if part_of(part, exclude) is None)
    from raysearch.networks.outline import outline

    return tuple(
        name for name, layer in outline(over[0]).items() if layer.is_sparse and part_of(name, exclude) is None
    )


def decode_sparsity(config: Mapping[str, Any], parts: Sequence[str]) -> SparsityPlan | None:
    """The plan of a sparsity config; None where no weight is zero.

    Args:
        config: "pattern", "criterion", "parts" (which may have zeros; all, if absent), "ratios" and "steps";
            all may be absent.
        parts: those that exist; the ratios of others are inactive.

    Raises:
        ValueError: an unknown key, pattern or criterion, or a ratio outside [0, 1).
    """
    where = "pruning/sparsity"
    check_keys(config, ("pattern", "criterion", "parts", "ratios", "steps"), where)
    steps = decode_steps(config.get("steps", 1), f"{where}/steps")
    chosen = {"pattern": "none", "criterion": "magnitude", **config}
    for key, known in (("pattern", PATTERNS), ("criterion", CRITERIA)):
        if chosen[key] not in known:
            raise UserError(f"{where}/{key} is {chosen[key]!r}, not one of {', '.join(known)}")
    given = as_mapping(config.get("ratios", {}), f"{where}/ratios")
    for part, ratio in given.items():
        if not 0 <= as_float(ratio, f"{where}/ratios/{part}") < 1:
            raise UserError(f"{where}/ratios/{part} is {ratio}, not in [0, 1)")
    if chosen["pattern"] == "2:4":
        own = config.get("parts", parts)
        return SparsityPlan("2:4", chosen["criterion"], {part: 0.5 for part in parts if part in own})
    ratios = {part: float(ratio) for part, ratio in given.items() if ratio > 0 and part in parts}
    if chosen["pattern"] == "none" or not ratios:
        return None
    return SparsityPlan(chosen["pattern"], chosen["criterion"], ratios, steps)


def encode_sparsity(plan: SparsityPlan) -> dict[str, Any]:
    """The canonical config of a plan."""
    found: dict[str, Any] = {"pattern": plan.pattern, "criterion": plan.criterion}
    if plan.pattern == "unstructured":
        found["ratios"] = dict(plan.ratios)
    return {**found, "steps": plan.steps} if plan.steps > 1 else found
