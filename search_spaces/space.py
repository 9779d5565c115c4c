"""A bound search space: what each of its configs amounts to.

Two configs with equal canonical forms are the same variant: parts that a sampled architecture does not have
are dropped, pruning ratios are rounded to what channel multiples allow, settings that have no effect
(a temperature without a teacher) are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from raysearch.search_spaces import domains as tune_domains
from raysearch.search_spaces.architectures import Architecture, OwnFamily, decode_architecture
from raysearch.search_spaces.architectures.alternatives import as_opened
from raysearch.search_spaces.architectures.families import DEFAULT
from raysearch.search_spaces.bit_widths import decode_bits, encode_bits
from raysearch.search_spaces.channel_pruning import MULTIPLE, decode_pruning, encode_pruning
from raysearch.search_spaces.design import fixed_design, parents_own
from raysearch.search_spaces.domains import Path, Values, merged
from raysearch.search_spaces.keys import SECTIONS, as_mapping, check_keys, part_of
from raysearch.search_spaces.plans import Config, TrialPlan, Variant
from raysearch.search_spaces.teachers import decode_teacher, encode_teacher
from raysearch.search_spaces.training import QUANTIZED_ONLY, decode_training, encode_training

# A config that leaves one of these out has the space's constants there; one that leaves out another section
# has none of it (a parent is neither pruned nor quantised).
ALWAYS = ("architecture", "training")
_REMEMBERED = 2_000  # variants; one suggestion looks at some 50, several times each


@dataclass(frozen=True)
class Space:
    """A bound search space; make one with ``bind``.

    Args:
        domains: nested Tune domains and constants, ready as a ``param_space``.
        groups: output channels of each prunable group of a given model, by its root layer; empty where the
            architecture itself is searched.
        layers: quantisable layers of a given model, in order.
        multiple: what kept channels are multiples of, where the space does not say.
        own: what decodes architectures of the user's own; None where they are of a ready family, or none.
    """

    domains: Mapping[str, Any]
    groups: Mapping[str, int] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    multiple: int = MULTIPLE
    own: OwnFamily | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is remembered beside them can be found again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def searched(self) -> dict[Path, Values]:
        """What each searched leaf may be, by its path."""
        return tune_domains.read(self.domains)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of the networks that may teach: "parent", "larger"."""
        names = self.searched.get(("teacher", "name"))
        return () if names is None else tuple(str(n) for n in names.ends() if n != "none")

    def variant(self, config: Mapping[str, Any]) -> Variant:
        """What a config amounts to, raw or canonical; constants of the space need not be in it.

        It is remembered for a while: leave what is in it as it is.

        Raises:
            ValueError: an unknown key or a value out of range.
        """
        text = repr(config)  # unlike equality, it tells 1 from True
        if text not in self._variants:
            if len(self._variants) >= _REMEMBERED:
                del self._variants[next(iter(self._variants))]
            self._variants[text] = self._variant(config)
        return self._variants[text]

    def design(self, parent: Mapping[str, Any]) -> list[Config]:
        """What a search starts from: the parent at uniform 8/8 bits, then also pruned at three ratios.

        Values are the legal ones nearest to the parent's; configs that equal the parent or one another (where
        the space has no bits or no pruning) are left out.
        """
        configs = {self.variant(parent).key: dict(parent)}
        for config in fixed_design(self.searched, parent):
            configs.setdefault(self.variant(config).key, config)
        return list(configs.values())[1:]

    def completed(self, config: Mapping[str, Any], parent: Mapping[str, Any]) -> Config:
        """A config that gives some searched values, raw or canonical; what it leaves out is the parent's.

        Raises:
            ValueError: a key or a value in it is not the space's.
        """
        completed = merged(parents_own(self.searched, parent), config)
        self.variant(completed)
        return completed

    @cached_property
    def _variants(self) -> dict[str, Variant]:
        return {}

    @cached_property
    def _constants(self) -> dict[str, Any]:
        return tune_domains.constants(self.domains)

    def _variant(self, config: Mapping[str, Any]) -> Variant:
        full = self._complete(config)
        plan = self._decode(full)
        canonical: Config = {"training": encode_training(plan.training, plan.bits.quantized)}
        if plan.architecture is not None:
            canonical["architecture"] = plan.architecture.encode()
        if plan.pruning is not None:
            canonical["pruning"] = encode_pruning(plan.pruning)
        if plan.bits.quantized:
            canonical["bits"] = encode_bits(plan.bits)
        if plan.teacher.active:
            canonical["teacher"] = encode_teacher(plan.teacher)
        said = json.dumps(_to_twelve_digits(canonical), sort_keys=True)
        key = hashlib.sha256(said.encode()).hexdigest()[:16]
        return Variant(canonical, key, self._active(plan, full), plan)

    def _complete(self, config: Mapping[str, Any]) -> Config:
        check_keys(config, SECTIONS, "the config")
        given = {s: as_mapping(config[s], s) for s in SECTIONS if s in config}
        if self.own is not None and "architecture" in given:
            given["architecture"] = as_opened(given["architecture"], self.own.space)
        fixed = self._constants
        return {
            s: merged(fixed.get(s, {}), given.get(s, {}))
            for s in SECTIONS
            if s in given or (s in ALWAYS and s in fixed)
        }

    def _decode(self, full: Config) -> TrialPlan:
        given = full.get("architecture")
        architecture = decode_architecture(given, self.own.decode if self.own else None) if given else None
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

    def _widths(self, architecture: Architecture | None) -> Mapping[str, int]:
        if self.groups or architecture is None:
            return self.groups
        return architecture.widths()

    def _precision_parts(self, architecture: Architecture | None, bits: Mapping[str, Any]) -> tuple[str, ...]:
        self._check_parts("bits", bits, architecture)
        if not self.layers:
            return tuple(bits) if architecture is None else architecture.parts()
        return tuple(dict.fromkeys(part_of(layer, bits) or layer for layer in self.layers))

    def _check_parts(self, where: str, parts: Mapping[str, Any], architecture: Architecture | None) -> None:
        layers = self.layers if where == "bits" else tuple(self.groups)
        if layers:
            check_keys(set(parts) - _parts_of(layers), layers, where)
        elif architecture is not None:
            check_keys(parts, self._known_parts(where, architecture), where)

    def _known_parts(self, where: str, architecture: Architecture) -> tuple[str, ...]:
        if self.own is not None:
            return self.own.known if where == "bits" else self.own.pruned
        return architecture.known_parts() if where == "bits" else architecture.pruned_parts()

    def settled(self, parent: Mapping[str, Any]) -> Config:
        """A parent whose architecture is this space's: the middle of the space where it has no such one."""
        space, given = self.domains.get("architecture"), parent.get("architecture")
        if not space or not tune_domains.read(space):
            return dict(parent)
        if given and self.own is not None:
            return {**parent, "architecture": as_opened(given, self.own.space)}
        family = {each.get("family", DEFAULT) for each in (space, given or {"family": None})}
        if given and len(family) == 1:
            return dict(parent)
        searched = tune_domains.read(space)
        middle = tune_domains.nested({path: values.middle() for path, values in searched.items()})
        own = merged(tune_domains.constants(space), middle)
        return {**parent, "architecture": self.variant({"architecture": own}).config["architecture"]}

    def _active(self, plan: TrialPlan, full: Config) -> frozenset[str]:
        """The searched names that matter to a config, flattened: "architecture/stage1/width"."""
        ratios, bits = full.get("pruning", {}).get("ratios", {}), full.get("bits", {})
        pruned = {part_of(group, ratios) for group in self._widths(plan.architecture)}

        def matters(section: str, name: str, *inner: str) -> bool:
            if section == "architecture":
                return plan.architecture is not None and plan.architecture.reads((name, *inner))
            if section == "pruning":
                return inner[0] in pruned if name == "ratios" else plan.pruning is not None
            if section == "bits":
                own = inner[0] == "own" or bits.get(name, {}).get("own", True)
                return own and name in plan.bits.weights
            if section == "teacher":
                return name == "name" or plan.teacher.active
            return name not in QUANTIZED_ONLY or plan.bits.quantized

        return frozenset("/".join(path) for path in self.searched if matters(*path))


def _parts_of(layers: Iterable[str]) -> set[str]:
    """Every name that some layer is or lies inside."""
    split = [layer.split(".") for layer in layers]
    return {".".join(names[: i + 1]) for names in split for i in range(len(names))}


def _to_twelve_digits(value: Any) -> Any:
    """With its numbers as searchers give them back, so that a config they were given is the same variant."""
    if isinstance(value, Mapping):
        return {key: _to_twelve_digits(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_twelve_digits(inner) for inner in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value
