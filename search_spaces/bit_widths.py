"""How many bits weights and activations have, part by part.

Neighbouring layers of different precision break a runtime's operator fusion, so that precisions drawn
independently for each layer are mostly slower than float. Here a part has its own precision only where
its ``own`` is true, and otherwise that of the part before it: runs of equal precision are likely.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from raysearch.basics.failures import UserError
from raysearch.search_spaces.architectures import possible_parts
from raysearch.search_spaces.arguments import names, one_of
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.domains import Choices, Path, Prior, Values
from raysearch.search_spaces.keys import as_mapping, check_keys, part_of

LEGAL_BITS = (2, 4, 8, 16, 32)
FLOAT = 32
_CHANGES = 0.5  # of precision along a network, on average, in a random draw


@dataclass(frozen=True)
class BitWidthPlan:
    """Bits of each part's weights and input activations: 2, 4, 8 (integers), 16 (float16), 32 (float)."""

    weights: Mapping[str, int] = field(default_factory=dict)
    activations: Mapping[str, int] = field(default_factory=dict)

    def layer(self, name: str) -> tuple[int, int]:
        """(weight bits, activation bits) of a layer; 32 where it belongs to no part."""
        part = part_of(name, self.weights)
        return (FLOAT, FLOAT) if part is None else (self.weights[part], self.activations[part])

    @property
    def quantized(self) -> bool:
        """Whether any layer has fewer than 32 bits."""
        return any(bits < FLOAT for bits in (*self.weights.values(), *self.activations.values()))

    @property
    def low(self) -> bool:
        """Whether any layer has fewer than 8 bits."""
        return any(bits < 8 for bits in (*self.weights.values(), *self.activations.values()))

    def at_least(self, bits: int) -> BitWidthPlan:
        """The same with so many bits wherever it has fewer."""
        weights, activations = (
            {part: max(own, bits) for part, own in kind.items()} for kind in (self.weights, self.activations)
        )
        return BitWidthPlan(weights, activations)


@overload
def bit_widths(
    weights: Any = ..., activations: Any = ..., over: None = ..., exclude: Sequence[str] = ...
) -> Deferred: ...
@overload
def bit_widths(
    weights: Any = ..., activations: Any = ..., *, over: Any, exclude: Sequence[str] = ...
) -> dict[str, Any]: ...
def bit_widths(
    weights: int | tuple[int, ...] = (2, 4, 8, 32),
    activations: int | tuple[int, ...] = (4, 8, 32),
    over: Any = None,
    exclude: Sequence[str] = (),
) -> dict[str, Any] | Deferred:
    """A space of bit widths for each part, in which runs of equal precision are likely (see the module).

    Args:
        weights: bits to choose from for weights, out of 2, 4, 8, 16, 32.
        activations: the same for activations.
        over: an architecture space, giving bits a stage, or (model, example input), giving bits a layer, or
            a list of the layers. Left out, a Study supplies it.
        exclude: layers, or parts with all their layers, that stay in float.

    Returns:
        Nested Tune domains, or a ``Deferred`` where ``over`` is left out. What cannot differ from the part
        before it is left out.

    Raises:
        ValueError: bits that are not legal, or a model without a layer to quantise.
    """
    one_of("weights", weights, LEGAL_BITS)
    one_of("activations", activations, LEGAL_BITS)
    if over is None:
        keywords = {"weights": weights, "activations": activations}
        return Deferred(bit_widths, keywords, exclude=names(exclude))
    parts = _parts(over, exclude)
    choices = {"weights": _as_list(weights), "activations": _as_list(activations)}
    varying = {key: values for key, values in choices.items() if len(values) > 1}
    space: dict[str, Any] = {parts[0]: _choices(choices)}
    if varying:
        space |= {part: _choices({"own": [False, True], **varying}) for part in parts[1:]}
    return space


def _as_list(values: int | tuple[int, ...]) -> list[int]:
    return [values] if isinstance(values, int) else list(values)


def _choices(values: Mapping[str, list[Any]]) -> dict[str, Any]:
    from ray import tune

    return {key: tune.choice(list(v)) for key, v in values.items()}


def _parts(over: Any, exclude: Sequence[str]) -> tuple[str, ...]:
    if isinstance(over, Mapping):
        return tuple(part for part in possible_parts(over) if part_of(part, exclude) is None)
    if isinstance(over, list):
        parts = tuple(part for part in over if part_of(part, exclude) is None)
    else:
        from raysearch.networks.groups import quantizable_layers

        model, example_input = over
        parts = quantizable_layers(model, example_input, exclude)
    if not parts:
        raise UserError("bit_widths: the model has no layer with weights to quantise")
    return parts


def decode_bits(config: Mapping[str, Any], parts: Sequence[str]) -> BitWidthPlan:
    """The plan of a bits config, every part's precision written out.

    Args:
        config: for each part "own", "weights", "activations". A part with ``own`` false, and whatever a part
            leaves out, is as in the part before it; the first part starts from 32.
        parts: the parts that exist, in order; others are inactive.

    Raises:
        ValueError: an unknown key or bits that are not legal.
    """
    weights, activations = {}, {}
    now = {"weights": FLOAT, "activations": FLOAT}
    for part in parts:
        given = as_mapping(config.get(part, {}), f"bits/{part}")
        check_keys(given, ("own", "weights", "activations"), f"bits/{part}")
        if given.get("own", True):
            now = {key: _legal(given.get(key, bits), f"bits/{part}/{key}") for key, bits in now.items()}
        weights[part], activations[part] = now["weights"], now["activations"]
    return BitWidthPlan(weights, activations)


def _legal(bits: Any, where: str) -> int:
    if bits not in LEGAL_BITS:
        raise UserError(f"{where} is {bits!r}, not one of {', '.join(map(str, LEGAL_BITS))}")
    return int(bits)


def encode_bits(plan: BitWidthPlan) -> dict[str, Any]:
    """The canonical config of a plan: every part explicit."""
    return {p: {"weights": plan.weights[p], "activations": plan.activations[p]} for p in plan.weights}


def precision_prior(searched: Mapping[Path, Values], integers: Collection[int]) -> dict[Path, Prior]:
    """How random draws choose a space's bits: mostly alike along the network, and in pairs that fit.

    What a target only stores in few bits it computes in float. Any other mix stays legal, for a searcher that
    expects a gain from it.

    Args:
        searched: what each searched leaf may be, by its path.
        integers: bits in which a target computes with integers where weights and activations both have them;
            empty where none does, so that activations of few bits gain nothing.
    """
    own = [path for path in searched if path[0] == "bits" and path[-1] == "own"]
    change = min(0.25, _CHANGES / max(len(own), 1))
    found, before = {}, set()
    for path in own:
        values = searched[path].ends()
        found[path] = Prior(odds=tuple(change if value else 1 - change for value in values))
    for path, activations in searched.items():
        partner = (*path[:-1], "weights")
        weights = searched.get(partner)
        before.add(path)
        if path[0] != "bits" or path[-1] != "activations" or partner not in before:
            continue
        if not isinstance(weights, Choices):
            continue
        fitting = tuple((w, _fitting(w, activations.ends(), integers)) for w in weights.values)
        found[path] = Prior(partner=partner, fitting=fitting)
    return found


def _fitting(weights: int, activations: Sequence[Any], integers: Collection[int]) -> tuple[int, ...]:
    """The bits of activations that a target computes with these bits of weights."""
    if weights in integers:
        fitting = tuple(a for a in activations if a in integers)
    else:
        fitting = tuple(a for a in activations if a >= FLOAT // 2)
    return fitting or tuple(activations)
