"""Binding a space: its parts are tied to one another, or to a given model, and all of it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures import OwnFamily, is_own, own_family, possible_parts
from raysearch.search_spaces.architectures.alternatives import opened
from raysearch.search_spaces.architectures.own import Build
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.domains import merged
from raysearch.search_spaces.keys import SECTIONS, as_mapping, belongs, check_keys, part_of
from raysearch.search_spaces.pruning.channel_pruning import MULTIPLE, check_installed, groups_of
from raysearch.search_spaces.space import ALWAYS, Space, parts_of

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
    build: Build | None = None,
    parts: Sequence[str] = (),
) -> Space:
    """Bind a space's parts to each other, or to a given model, and check all of it.

    Args:
        space: up to five keys: "architecture", "pruning", "bits", "teacher", "training".
        model: the model that is pruned and quantised, where no architecture is searched.
        example_input: a batch for that model, or for those that ``build`` makes.
        channel_multiple: what kept channels are multiples of, where ``channel_pruning`` does not say.
        parent: a config whose architecture and training settings hold where the space leaves them out.
        exclude: layers, or parts with all their layers, that are neither pruned nor quantised.
        build: makes a network of an architecture that is of no ready family.
        parts: what has a pruning ratio and bits of its own; left out, of a given model its groups and layers,
            of what ``build`` makes the top-level children.

    Raises:
        ValueError: an unknown key, a value or domain out of range, a part that the model does not have, a
            criterion whose extra is missing.
    """
    check_keys(space, SECTIONS, "the space")
    bound = _always(space, parent or {})
    architecture, own = bound.get("architecture"), None
    if architecture is not None and build is not None and is_own(architecture):
        architecture = bound["architecture"] = opened(architecture)
        own = own_family(
            architecture,
            build,
            parts=parts,
            exclude=exclude,
            example_input=example_input if model is None else None,
            pruned=bool(space.get("pruning")),
        )
    free = domains.varies(architecture)
    if parts and free and own is None:
        raise UserError(f"parts is {list(parts)!r}, and the architecture's family has its own: leave it out")
    over = (model, example_input) if model is not None and not free else architecture
    groups, layers = _model_parts(space, over, exclude)
    names = _names(over, own if free else None, groups, layers, parts)
    for section in ("pruning", "bits", "teacher"):
        if space.get(section):
            bound[section] = _bind_section(section, space[section], over, names, exclude)
    if "pruning" in bound:
        bound["pruning"].setdefault("multiple", channel_multiple)
    rated = "layer_lr" in bound.get("training", {})
    result = Space(
        {s: bound[s] for s in SECTIONS if s in bound},
        groups,
        layers,
        multiple=channel_multiple,
        own=own,
        names=_trained_names(over[0]) if rated and isinstance(over, tuple) else (),
    )
    _check(result)
    return result


def _always(space: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that hold in every config: the space's, and what it leaves out as the parent has it."""
    bound: dict[str, Any] = {}
    for section in ALWAYS:
        inherited = as_mapping(parent.get(section, {}), f"the parent's {section}")
        given = as_mapping(space.get(section, {}), section)
        if section == "training":
            given = {**inherited, **given}
        if given or inherited:
            bound[section] = dict(given or inherited)
    return bound


def _names(
    over: Any,
    own: OwnFamily | None,
    groups: Mapping[str, int],
    layers: Sequence[str],
    parts: Sequence[str],
) -> dict[str, list[str]]:
    """What has a ratio, and bits, of its own, where that is not an architecture space's to say."""
    if own is not None:
        return {"pruning": list(own.pruned), "bits": list(own.known), "sparsity": list(own.sparse)}
    if not isinstance(over, tuple):
        return {}
    sparse = _sparse_layers(over[0], layers)
    if not parts:
        return {"pruning": list(groups), "bits": list(layers), "sparsity": sparse}
    for part in parts:
        if (groups or layers) and not any(belongs(name, part) for name in (*groups, *layers)):
            known = [*dict.fromkeys(name.partition(".")[0] for name in (*groups, *layers))]
            raise UserError(f"parts has {part!r}, which no layer is in; {did_you_mean(str(part), known)}")
    return {
        "pruning": [part for part in parts if any(part_of(name, parts) == part for name in groups)],
        "bits": [part for part in parts if any(part_of(name, parts) == part for name in layers)],
        "sparsity": [part for part in parts if any(part_of(name, parts) == part for name in sparse)],
    }


def _sparse_layers(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """Those of some layers whose weights may become zero one by one."""
    from raysearch.networks.outline import outline

    return [name for name, layer in outline(model).items() if layer.is_sparse and name in layers]


def _bind_section(
    section: str, value: Any, over: Any, names: Mapping[str, list[str]], exclude: Sequence[str]
) -> dict[str, Any]:
    if isinstance(value, Deferred):
        if over is None:
            raise UserError(f"{section} needs an architecture space or a model to be over: give over=")
        known = [name for each in names.values() for name in each]
        if isinstance(over, tuple):
            known += [name for name, _ in over[0].named_modules() if name]
        elif not known:
            known += possible_parts(over)
        _check_excluded(section, value, known)
        value = value.bind(names.get(section, over), exclude, names.get("sparsity", over))
    given: dict[str, Any] = dict(as_mapping(value, section))
    return given if domains.read(given) else _as_choices(given)


def _check_excluded(section: str, value: Deferred, known: Sequence[str]) -> None:
    """Refuse names to leave out that no part has, or no layer of a given model."""
    for name in (name for each in value.all for name in each.exclude):
        if not any(belongs(part, name) for part in known):
            raise UserError(f"{section}: exclude has {name!r}; {did_you_mean(name, dict.fromkeys(known))}")


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
    by_layers = bool(space.get("bits")) or _is_sparse(space.get("pruning"))
    return groups, quantizable_layers(model, example_input, exclude) if by_layers else ()


def _is_sparse(pruning: Any) -> bool:
    """Whether a section for pruning has weights that may be zero."""
    if isinstance(pruning, Deferred):
        return any(each.by_layers for each in pruning.all)
    return isinstance(pruning, Mapping) and "sparsity" in pruning


def _trained_names(model: nn.Module) -> tuple[str, ...]:
    """The model's parameters, and the layers and parts that they lie inside, the outermost first."""
    names = parts_of(name for name, _ in model.named_parameters())
    return tuple(sorted(names, key=lambda name: name.count(".")))


def _check(space: Space) -> None:
    """Decode the middle of the space, and it with every single domain at each of its ends."""
    check_installed(space.criteria)
    searched = space.searched
    middle = domains.nested({path: values.middle() for path, values in searched.items()})
    space.variant(middle)
    for path, values in searched.items():
        for end in values.ends():
            space.variant(merged(middle, domains.nested({path: end})))
    if "larger" in space.teachers and (space.own is not None or "architecture" not in space.domains):
        raise UserError(
            "teacher/name has 'larger', which needs an architecture to enlarge, one of raysearch's families: "
            "leave it out"
        )
