"""What a trial takes of a node: resources, and labels that the node must have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ray import tune

_ROUNDING = 1e-9  # 1 // 0.2 is 4: a share that goes in evenly must not lose a worker
_GB = 10**9


@dataclass(frozen=True)
class Demand:
    """What a trial takes of one node.

    Attributes:
        amounts: of the node's resources, each by Ray's name ("CPU", "GPU", "memory" in bytes, a user's own).
        labels: that the node must have.
    """

    amounts: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> Demand:
        """A demand from ``search.resources`` of a study file, which its schema has checked."""
        amounts = {
            "CPU": resources.get("cpu", 0),
            "GPU": resources.get("gpu", 0),
            "memory": int(_GB * (resources.get("memory_gb") or 0)),
            **resources.get("custom", {}),
        }
        return cls({name: amount for name, amount in amounts.items() if amount}, resources.get("labels", {}))

    def without_gpu(self) -> Demand:
        """That of work beside the trials, which computes on processors."""
        return replace(self, amounts={name: v for name, v in self.amounts.items() if name != "GPU"})

    def placement(self) -> tune.PlacementGroupFactory:
        """As Tune asks for it."""
        selectors: dict[str, Any] = {"bundle_label_selector": [dict(self.labels)]} if self.labels else {}
        return tune.PlacementGroupFactory([dict(self.amounts)], **selectors)

    def options(self) -> dict[str, Any]:
        """As a Ray task or actor asks for it."""
        own = dict(self.amounts)
        options: dict[str, Any] = {"num_cpus": own.pop("CPU", 0), "num_gpus": own.pop("GPU", 0)}
        if "memory" in own:
            options["memory"] = own.pop("memory")
        if own:
            options["resources"] = own
        return {**options, "label_selector": dict(self.labels)} if self.labels else options

    def fits(self, node: Mapping[str, Any]) -> int:
        """How many trials a node of ``ray.nodes()`` holds, whatever else is on it."""
        labels, has = node.get("Labels") or {}, node.get("Resources", {})
        if any(labels.get(name) != value for name, value in self.labels.items()):
            return 0
        return min(int(has.get(name, 0) / amount + _ROUNDING) for name, amount in self.amounts.items())

    def missing(self, nodes: Iterable[Mapping[str, Any]]) -> str:
        """What to say where none of the nodes holds a trial."""
        nodes = list(nodes)
        for name, amount in self.amounts.items():
            most = max((node.get("Resources", {}).get(name, 0) for node in nodes), default=0)
            if most * (1 + _ROUNDING) < amount:
                key, unit = _KEYS.get(name, (f"custom.{name}", 1))
                return (
                    f"resources.{key} is {amount / unit:g} a trial, and no node of the cluster has more than "
                    f"{most / unit:g}: ask for less"
                )
        for name, value in self.labels.items():
            known = {labels[name] for node in nodes if name in (labels := node.get("Labels") or {})}
            if value not in known:
                others = f"; the values there are {', '.join(sorted(known))}" if known else ""
                return f"resources.labels asks for {name}={value}, and no node of the cluster has it{others}"
        return f"resources asks for {self} on one node, and no node of the cluster has all of it"

    def __str__(self) -> str:
        parts = [_part(name, amount) for name, amount in self.amounts.items()]
        parts += [f"the label {name}={value}" for name, value in self.labels.items()]
        return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


#: Ray's name of a resource -> the study file's, and how many of Ray's units that has.
_KEYS = {"CPU": ("cpu", 1), "GPU": ("gpu", 1), "memory": ("memory_gb", _GB)}


def _part(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / _GB:g} GB of memory"
    plural = "s" if name in ("CPU", "GPU") and amount > 1 else ""
    return f"{amount:g} {name}{plural}"
