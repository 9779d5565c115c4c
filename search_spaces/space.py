"""A bound search space: what each of its configs amounts to.

Two configs with equal canonical forms are the same variant: parts that a sampled architecture does not have
are dropped, pruning ratios are rounded to what channel multiples allow, settings that have no effect
(a temperature without a teacher) are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from raysearch.search_spaces import domains as tune_domains
from raysearch.search_spaces.architectures import Architecture, OwnFamily, decode_architecture
from raysearch.search_spaces.architectures.alternatives import as_opened
from raysearch.search_spaces.architectures.families import DEFAULT
from raysearch.search_spaces.architectures.stages import EXITS
from raysearch.search_spaces.bit_widths import decode_bits, encode_bits
from raysearch.search_spaces.design import fixed_design, parents_own
from raysearch.search_spaces.domains import Path, Values, merged
from raysearch.search_spaces.keys import SECTIONS, as_mapping, check_keys, part_of
from raysearch.search_spaces.plans import Config, TrialPlan, Variant
from raysearch.search_spaces.pruning.channel_pruning import MULTIPLE, decode_pruning, encode_pruning
from raysearch.search_spaces.pruning.weight_sparsity import SparsityPlan, decode_sparsity, encode_sparsity
from raysearch.search_spaces.teachers import decode_teacher, encode_teacher
from raysearch.search_spaces.training import decode_training, encode_training, is_active, with_parts

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
        names: parameters, layers and parts of a given model, where some have learning rates of their own.
    """

    domains: Mapping[str, Any]
    groups: Mapping[str, int] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    multiple: int = MULTIPLE
    own: OwnFamily | None = None
    names: tuple[str, ...] = ()

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

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria that channels and weights may be picked by; none without pruning."""
        fixed = self._constants.get("pruning", {})
        found: list[Any] = [fixed.get("criterion"), fixed.get("sparsity", {}).get("criterion")]
        for path in (("pruning", "criterion"), ("pruning", "sparsity", "criterion")):
            found += self.searched[path].ends() if path in self.searched else []
        return tuple(dict.fromkeys(str(name) for name in found if name))

    @property
    def exits(self) -> bool:
        """Whether some of its networks may be left early."""
        if self.own is not None:
            return self.own.exits
        return EXITS in self.domains.get("architecture", {})

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
        completed = merged(parents_own(self.searched, parent), self._as_opened(config))
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
        canonical: Config = {
            "training": encode_training(
                plan.training, plan.bits.quantized, low=plan.bits.low, exits=plan.may_exit
            )
        }
        if plan.architecture is not None:
            canonical["architecture"] = plan.architecture.encode()
        if plan.pruning is not None or plan.sparsity is not None:
            canonical["pruning"] = encode_pruning(plan.pruning) if plan.pruning else {}
        if plan.sparsity is not None:
            canonical["pruning"]["sparsity"] = encode_sparsity(plan.sparsity)
        if plan.bits.quantized:
            canonical["bits"] = encode_bits(plan.bits)
        if plan.teacher.active:
            canonical["teacher"] = encode_teacher(plan.teacher)
        said = json.dumps(_to_twelve_digits(canonical), sort_keys=True)
        key = hashlib.sha256(said.encode()).hexdigest()[:16]
        return Variant(canonical, key, self._active(plan, full), plan)

    def _complete(self, config: Mapping[str, Any]) -> Config:
        check_keys(config, SECTIONS, "the config")
        config = self._as_opened(config)
        given = {s: as_mapping(config[s], s) for s in SECTIONS if s in config}
        fixed = self._constants
        return {
            s: merged(fixed.get(s, {}), given.get(s, {}))
            for s in SECTIONS
            if s in given or (s in ALWAYS and s in fixed)
        }

    def _as_opened(self, config: Mapping[str, Any]) -> Config:
        """A config with its architecture in the form of the space, also where it is as the user writes it."""
        if self.own is None or "architecture" not in config:
            return dict(config)
        return {**config, "architecture": as_opened(config["architecture"], self.own.space)}

    def _decode(self, full: Config) -> TrialPlan:
        given = full.get("architecture")
        decode = self.own.decode if self.own else decode_architecture
        architecture: Architecture | None = decode(given) if given else None
        bits = decode_bits(full.get("bits", {}), self._precision_parts(architecture, full.get("bits", {})))
        pruning = dict(full.get("pruning", {}))
        sparsity = as_mapping(pruning.pop("sparsity", {}), "pruning/sparsity")
        self._check_parts("pruning/ratios", pruning.get("ratios", {}), architecture)
        self._check_parts("pruning/sparsity/ratios", sparsity.get("ratios", {}), architecture)
        exits = architecture is not None and architecture.may_exit()
        training = decode_training(full.get("training", {}), bits.quantized, low=bits.low, exits=exits)
        self._check_parts("training/layer_lr", training.layer_lr, architecture)
        return TrialPlan(
            architecture,
            decode_pruning(pruning, self._widths(architecture), self.multiple),
            decode_sparsity(sparsity, self._sparse_parts(architecture, sparsity)),
            bits,
            decode_teacher(full.get("teacher", {})),
            with_parts(training, self._trained_parts(architecture)),
        )

    def _trained_parts(self, architecture: Architecture | None) -> tuple[str, ...] | None:
        """What may have a learning rate of its own; None: whatever is named."""
        return None if self.names or architecture is None else architecture.parts()

    def _widths(self, architecture: Architecture | None) -> Mapping[str, int]:
        if self.groups or architecture is None:
            return self.groups
        return architecture.widths()

    def _precision_parts(self, architecture: Architecture | None, bits: Mapping[str, Any]) -> tuple[str, ...]:
        self._check_parts("bits", bits, architecture)
        if not self.layers:
            return tuple(bits) if architecture is None else architecture.parts()
        return tuple(dict.fromkeys(part_of(layer, bits) or layer for layer in self.layers))

    def _sparse_parts(
        self, architecture: Architecture | None, sparsity: Mapping[str, Any]
    ) -> tuple[str, ...]:
        if self.layers or architecture is None:
            return tuple(dict.fromkeys([*sparsity.get("ratios", {}), *sparsity.get("parts", self.layers)]))
        return architecture.parts()

    def _check_parts(self, where: str, parts: Mapping[str, Any], architecture: Architecture | None) -> None:
        known = {"pruning/ratios": tuple(self.groups), "training/layer_lr": self.names}
        layers = known.get(where, self.layers)
        if layers:
            check_keys(set(parts).difference(parts_of(layers)), layers, where)
        elif architecture is not None:
            check_keys(parts, self._known_parts(where, architecture), where)

    def _known_parts(self, where: str, architecture: Architecture) -> tuple[str, ...]:
        if self.own is not None:
            return self.own.pruned if where == "pruning/ratios" else self.own.known
        return architecture.pruned_parts() if where == "pruning/ratios" else architecture.known_parts()

    def settled(self, parent: Mapping[str, Any]) -> Config:
        """A parent whose architecture is this space's: the middle of the space where it has no such one."""
        space, given = self.domains.get("architecture"), parent.get("architecture")
        if not space or not tune_domains.read(space):
            return dict(parent)
        if given and self.own is not None:
            return self._as_opened(parent)
        family = {each.get("family", DEFAULT) for each in (space, given or {"family": None})}
        if given and len(family) == 1:
            return dict(parent)
        searched = tune_domains.read(space)
        middle = tune_domains.nested({path: values.middle() for path, values in searched.items()})
        if self.own is None:
            middle.pop(EXITS, None)  # what others are compared with is run to its end
        own = merged(tune_domains.constants(space), middle)
        return {**parent, "architecture": self.variant({"architecture": own}).config["architecture"]}

    def _active(self, plan: TrialPlan, full: Config) -> frozenset[str]:
        """The searched names that matter to a config, flattened: "architecture/stage1/width"."""
        ratios, bits = full.get("pruning", {}).get("ratios", {}), full.get("bits", {})
        sparsity = full.get("pruning", {}).get("sparsity", {})
        sparse = self._sparse_parts(plan.architecture, sparsity)
        pruned = {part_of(group, ratios) for group in self._widths(plan.architecture)}
        trained = self._trained_parts(plan.architecture)

        def matters(section: str, name: str, *inner: str) -> bool:
            if section == "architecture":
                return plan.architecture is not None and plan.architecture.reads((name, *inner))
            if section == "pruning":
                if name == "sparsity":
                    return _matters_to(plan.sparsity, sparsity, sparse, *inner)
                return inner[0] in pruned if name == "ratios" else plan.pruning is not None
            if section == "bits":
                own = inner[0] == "own" or bits.get(name, {}).get("own", True)
                return own and name in plan.bits.weights
            if section == "teacher":
                return name == "name" or plan.teacher.active
            if name == "layer_lr":
                return not inner or trained is None or inner[0] in trained
            return is_active(name, plan.training, plan.bits.quantized, low=plan.bits.low, exits=plan.may_exit)

        return frozenset("/".join(path) for path in self.searched if matters(*path))


def _matters_to(
    plan: SparsityPlan | None, config: Mapping[str, Any], parts: Sequence[str], name: str, *part: str
) -> bool:
    """Whether a setting of sparse weights matters: the pattern always, ratios of parts that exist."""
    if name == "ratios":
        return config.get("pattern") == "unstructured" and part[0] in parts
    if name == "pattern" or plan is None:
        return name == "pattern"
    return name != "steps" or plan.pattern == "unstructured"


def parts_of(layers: Iterable[str]) -> list[str]:
    """Every name that some layer is or lies inside, once."""
    split = [layer.split(".") for layer in layers]
    return list(dict.fromkeys(".".join(names[: i + 1]) for names in split for i in range(len(names))))


def _to_twelve_digits(value: Any) -> Any:
    """With its numbers as searchers give them back, so that a config they were given is the same variant."""
    if isinstance(value, Mapping):
        return {key: _to_twelve_digits(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_twelve_digits(inner) for inner in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value
