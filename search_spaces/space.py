"""The whole search space of a study: bound to its model, with the canonical form of a config.

Two configs with equal canonical forms are the same variant: parts that a sampled architecture does not have
are dropped, pruning ratios are rounded to what channel multiples allow, settings that have no effect
(a temperature without a teacher) are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces import domains as tune_domains
from raysearch.search_spaces.bit_widths import decode_bits, encode_bits
from raysearch.search_spaces.channel_pruning import MULTIPLE, decode_pruning, encode_pruning
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.design import fixed_design
from raysearch.search_spaces.domains import Path
from raysearch.search_spaces.keys import SECTIONS, as_mapping, belongs, check_keys, part_of
from raysearch.search_spaces.plans import TrialPlan
from raysearch.search_spaces.resnet import ResNetPlan, decode_architecture, encode_architecture
from raysearch.search_spaces.teachers import decode_teacher, encode_teacher
from raysearch.search_spaces.training import QUANTIZED_ONLY, decode_training, encode_training

if TYPE_CHECKING:
    from torch import Tensor, nn

Config = dict[str, Any]

__all__ = ["Config", "Space", "TrialPlan", "bind"]
# A config that leaves one of these out has the space's constants there; one that leaves out another section
# has none of it (a parent is neither pruned nor quantised).
_ALWAYS = ("architecture", "training")


@dataclass(frozen=True)
class Space:
    """A bound search space; make one with ``bind``.

    Args:
        domains: nested Tune domains and constants, ready as a ``param_space``.
        groups: output channels of each prunable group of a given model, by its root layer; empty where the
            architecture itself is searched.
        layers: quantisable layers of a given model, in order.
        multiple: what kept channels are multiples of, where the space does not say.
    """

    domains: Mapping[str, Any]
    groups: Mapping[str, int] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    multiple: int = MULTIPLE

    @property
    def searched(self) -> dict[Path, Any]:
        """Every leaf that is searched, by its path."""
        return tune_domains.searched(self.domains)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of the networks that may teach: "parent", "larger"."""
        names = self.searched.get(("teacher", "name"))
        return () if names is None else tuple(n for n in names.categories if n != "none")

    def decode(self, config: Mapping[str, Any]) -> TrialPlan:
        """The plan of a config, raw or canonical; constants of the space need not be in it.

        Raises:
            ValueError: an unknown key or a value out of range.
        """
        full = self._complete(config)
        architecture = decode_architecture(full["architecture"]) if full.get("architecture") else None
        bits = decode_bits(full.get("bits", {}), self._precision_parts(architecture, full.get("bits", {})))
        pruning = full.get("pruning", {})
        self._check_parts("pruning/ratios", pruning.get("ratios", {}), architecture)
        return TrialPlan(
            architecture,
            decode_pruning(pruning, self._widths(architecture), self.multiple),
            bits,
            decode_teacher(full.get("teacher", {})),
            decode_training(full.get("training", {}), bits.quantized),
        )

    def canonical(self, config: Mapping[str, Any]) -> Config:
        """The config's canonical form, JSON types only; canonical forms are their own canonical form."""
        plan = self.decode(config)
        canonical: Config = {"training": encode_training(plan.training, plan.bits.quantized)}
        if plan.architecture is not None:
            canonical["architecture"] = encode_architecture(plan.architecture)
        if plan.pruning is not None:
            canonical["pruning"] = encode_pruning(plan.pruning)
        if plan.bits.quantized:
            canonical["bits"] = encode_bits(plan.bits)
        if plan.teacher.active:
            canonical["teacher"] = encode_teacher(plan.teacher)
        return canonical

    def key(self, config: Mapping[str, Any]) -> str:
        """A short hash of the canonical form."""
        text = json.dumps(self.canonical(config), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def active(self, config: Mapping[str, Any]) -> frozenset[str]:
        """The searched names that matter to this config, flattened: "architecture/stage1/width"."""
        plan = self.decode(config)
        full = self._complete(config)
        return frozenset("/".join(p) for p in self.searched if self._matters(p, plan, full))

    def design(self, parent: Mapping[str, Any]) -> list[Config]:
        """What a search starts from: the parent at uniform 8/8 bits, then also pruned at three ratios.

        Values are the legal ones nearest to the parent's; configs that equal the parent or one another (where
        the space has no bits or no pruning) are left out.
        """
        seen = {self.key(parent)}
        configs = []
        for config in fixed_design(self.domains, parent):
            if self.key(config) not in seen:
                seen.add(self.key(config))
                configs.append(config)
        return configs

    def completed(self, config: Mapping[str, Any], parent: Mapping[str, Any]) -> Config:
        """A config that gives some searched values, with the others as the fixed design begins with them.

        Raises:
            ValueError: a key or a value in it is not the space's.
        """
        completed = _merge(next(fixed_design(self.domains, parent)), config)
        self.decode(completed)
        return completed

    def _complete(self, config: Mapping[str, Any]) -> Config:
        check_keys(config, SECTIONS, "the config")
        fixed = tune_domains.constants(self.domains)
        given = {s: as_mapping(config[s], s) for s in SECTIONS if s in config}
        return {
            s: _merge(fixed.get(s, {}), given.get(s, {}))
            for s in SECTIONS
            if s in given or (s in _ALWAYS and s in fixed)
        }

    def _widths(self, architecture: ResNetPlan | None) -> Mapping[str, int]:
        if self.groups or architecture is None:
            return self.groups
        return architecture.widths()

    def _precision_parts(self, architecture: ResNetPlan | None, bits: Mapping[str, Any]) -> tuple[str, ...]:
        self._check_parts("bits", bits, architecture)
        if not self.layers:
            return tuple(bits) if architecture is None else architecture.parts()
        return tuple(dict.fromkeys(part_of(layer, bits) or layer for layer in self.layers))

    def _check_parts(self, where: str, parts: Mapping[str, Any], architecture: ResNetPlan | None) -> None:
        layers: Sequence[str] = self.layers if where == "bits" else tuple(self.groups)
        if layers:
            empty = [p for p in parts if not any(belongs(layer, p) for layer in layers)]
            check_keys(empty, layers, where)
        elif architecture is not None:
            possible = ("stem", *(f"stage{i + 1}" for i in range(6)), "head")
            check_keys(parts, possible if where == "bits" else possible[:-1], where)

    def _matters(self, path: Path, plan: TrialPlan, full: Config) -> bool:
        section, *rest = path
        if section == "architecture":
            parts = plan.architecture.parts() if plan.architecture else ()
            return len(rest) == 1 or rest[0] in parts
        if section == "pruning":
            if rest[0] != "ratios":
                return plan.pruning is not None
            ratios = full.get("pruning", {}).get("ratios", {})
            return any(part_of(g, ratios) == rest[1] for g in self._widths(plan.architecture))
        if section == "bits":
            own = full.get("bits", {}).get(rest[0], {}).get("own", True)
            return rest[0] in plan.bits.weights and (rest[1] == "own" or own)
        if section == "teacher":
            return rest[0] == "name" or plan.teacher.active
        return rest[0] not in QUANTIZED_ONLY or plan.bits.quantized


def bind(
    space: Mapping[str, Any],
    *,
    model: nn.Module | None = None,
    example_input: Tensor | None = None,
    channel_multiple: int = MULTIPLE,
    parent: Mapping[str, Any] | None = None,
) -> Space:
    """Bind a space's parts to each other, or to a given model, and check all of it.

    Args:
        space: up to five keys: "architecture", "pruning", "bits", "teacher", "training".
        model: the model that is pruned and quantised, where no architecture is searched.
        example_input: a batch for that model.
        channel_multiple: what kept channels are multiples of, where ``channel_pruning`` does not say.
        parent: a config whose architecture and training settings hold where the space leaves them out.

    Raises:
        ValueError: an unknown key, a value or domain out of range, a part that the model does not have.
    """
    check_keys(space, SECTIONS, "the space")
    bound: dict[str, Any] = {}
    for section in _ALWAYS:
        inherited = as_mapping((parent or {}).get(section, {}), f"the parent's {section}")
        given = as_mapping(space.get(section, {}), section)
        if section == "training":
            given = {**inherited, **given}
        if given or inherited:
            bound[section] = dict(given or inherited)
    architecture = bound.get("architecture")
    free = architecture is not None and bool(tune_domains.searched(architecture))
    over = (model, example_input) if model is not None and not free else architecture
    for section in ("pruning", "bits", "teacher"):
        if space.get(section):
            bound[section] = _bind_section(section, space[section], over)
    if "pruning" in bound:
        bound["pruning"].setdefault("multiple", channel_multiple)
    result = Space(
        {s: bound[s] for s in SECTIONS if s in bound}, *_model_parts(bound, over), multiple=channel_multiple
    )
    _check(result)
    return result


def _bind_section(section: str, value: Any, over: Any) -> dict[str, Any]:
    if isinstance(value, Deferred):
        if over is None:
            raise UserError(f"{section} needs an architecture space or a model to be over: give over=")
        if isinstance(over, tuple) and over[1] is None:
            raise UserError("a model needs an example input beside it: give example_input=")
        value = value.bind(over)
    given: dict[str, Any] = dict(as_mapping(value, section))
    return given if tune_domains.searched(given) else _as_choices(given)


def _as_choices(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Constants as choices of one, so that every searcher's config shows that the section is there."""
    from ray import tune

    return {k: _as_choices(v) if isinstance(v, Mapping) else tune.choice([v]) for k, v in fixed.items()}


def _model_parts(bound: Mapping[str, Any], over: Any) -> tuple[dict[str, int], tuple[str, ...]]:
    """Prunable groups and quantisable layers of a given model, as far as the space needs them."""
    if not isinstance(over, tuple):
        if "pruning" in bound and over is None:
            raise UserError("pruning ratios over a model: give bind the model and its example input")
        return {}, ()
    from raysearch.networks.groups import prunable_groups, quantizable_layers

    model, example_input = over
    groups = prunable_groups(model, example_input) if "pruning" in bound else {}
    return groups, quantizable_layers(model)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _check(space: Space) -> None:
    """Decode the middle of the space, and it with every single domain at each of its ends."""
    for path, leaf in tune_domains.leaves(space.domains):
        if tune_domains.is_domain(leaf) or isinstance(leaf, Mapping):
            tune_domains.check_domain(path, leaf)
    searched = space.searched
    middle = tune_domains.nested({p: tune_domains.middle(d) for p, d in searched.items()})
    space.decode(middle)
    for path, domain in searched.items():
        for value in tune_domains.ends(domain):
            space.decode(_merge(middle, tune_domains.nested({path: value})))
    if "larger" in space.teachers and "architecture" not in space.domains:
        raise UserError("teacher/name has 'larger', which needs an architecture to enlarge: leave it out")
