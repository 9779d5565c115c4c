"""Binding a space: its parts are tied to one another, or to a given model, and all of it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces import domains
from raysearch.search_spaces.channel_pruning import MULTIPLE, groups_of
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.keys import SECTIONS, as_mapping, check_keys
from raysearch.search_spaces.space import ALWAYS, Space, merged, parts_of

if TYPE_CHECKING:
    from torch import nn

    from raysearch.networks.nests import Nest


def bind(
    space: Mapping[str, Any],
    *,
    model: nn.Module | None = None,
    example_input: Nest | None = None,
    channel_multiple: int = MULTIPLE,
    parent: Mapping[str, Any] | None = None,
    exclude: Sequence[str] = (),
) -> Space:
    """Bind a space's parts to each other, or to a given model, and check all of it.

    Args:
        space: up to five keys: "architecture", "pruning", "bits", "teacher", "training".
        model: the model that is pruned and quantised, where no architecture is searched.
        example_input: a batch for that model.
        channel_multiple: what kept channels are multiples of, where ``channel_pruning`` does not say.
        parent: a config whose architecture and training settings hold where the space leaves them out.
        exclude: layers, or parts with all their layers, that are neither pruned nor quantised.

    Raises:
        ValueError: an unknown key, a value or domain out of range, a part that the model does not have.
    """
    check_keys(space, SECTIONS, "the space")
    bound: dict[str, Any] = {}
    for section in ALWAYS:
        inherited = as_mapping((parent or {}).get(section, {}), f"the parent's {section}")
        given = as_mapping(space.get(section, {}), section)
        if section == "training":
            given = {**inherited, **given}
        if given or inherited:
            bound[section] = dict(given or inherited)
    architecture = bound.get("architecture")
    free = architecture is not None and bool(domains.read(architecture))
    over = (model, example_input) if model is not None and not free else architecture
    groups, layers = _model_parts(space, over, exclude)
    parts = {"pruning": list(groups), "bits": list(layers)} if isinstance(over, tuple) else {}
    for section in ("pruning", "bits", "teacher"):
        if space.get(section):
            bound[section] = _bind_section(section, space[section], parts.get(section, over), exclude)
    if "pruning" in bound:
        bound["pruning"].setdefault("multiple", channel_multiple)
    rated = "layer_lr" in bound.get("training", {})
    result = Space(
        {s: bound[s] for s in SECTIONS if s in bound},
        groups,
        layers,
        multiple=channel_multiple,
        names=_trained_names(over[0]) if rated and isinstance(over, tuple) else (),
    )
    _check(result)
    return result


def _bind_section(section: str, value: Any, over: Any, exclude: Sequence[str]) -> dict[str, Any]:
    if isinstance(value, Deferred):
        if over is None:
            raise UserError(f"{section} needs an architecture space or a model to be over: give over=")
        value = value.bind(over, exclude)
    given: dict[str, Any] = dict(as_mapping(value, section))
    return given if domains.read(given) else _as_choices(given)


def _as_choices(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Constants as choices of one, so that every searcher's config shows that the section is there."""
    from ray import tune

    return {k: _as_choices(v) if isinstance(v, Mapping) else tune.choice([v]) for k, v in fixed.items()}


def _model_parts(
    space: Mapping[str, Any], over: Any, exclude: Sequence[str]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Prunable groups and quantisable layers of a given model, as far as the space needs them."""
    if not isinstance(over, tuple):
        pruning = space.get("pruning")
        if pruning and over is None and not isinstance(pruning, Deferred):
            raise UserError("pruning ratios over a model: give bind the model and its example input")
        return {}, ()
    from raysearch.networks.groups import quantizable_layers

    model, example_input = over
    if example_input is None and (space.get("pruning") or space.get("bits")):
        raise UserError("a model needs an example input beside it: give example_input=")
    groups = groups_of(model, example_input, exclude) if space.get("pruning") else {}
    return groups, quantizable_layers(model, example_input, exclude) if space.get("bits") else ()


def _trained_names(model: nn.Module) -> tuple[str, ...]:
    """The model's parameters, and the layers and parts that they lie inside, the outermost first."""
    names = parts_of(name for name, _ in model.named_parameters())
    return tuple(sorted(names, key=lambda name: name.count(".")))


def _check(space: Space) -> None:
    """Decode the middle of the space, and it with every single domain at each of its ends."""
    searched = space.searched
    middle = domains.nested({path: values.middle() for path, values in searched.items()})
    space.variant(middle)
    for path, values in searched.items():
        for end in values.ends():
            space.variant(merged(middle, domains.nested({path: end})))
    if "larger" in space.teachers and "architecture" not in space.domains:
        raise UserError("teacher/name has 'larger', which needs an architecture to enlarge: leave it out")
