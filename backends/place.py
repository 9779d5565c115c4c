"""Which devices of a cluster a target is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from raysearch.backends.measurement.lock import MACHINE
from raysearch.basics.failures import UserError


@dataclass(frozen=True)
class Place:
    """The devices that a target may use.

    Attributes:
        resource: every unit of this counted resource of a Ray node is one device.
        labels: of Ray nodes, each of which is one device where no resource is named; pairs of name and value.
        wait_minutes: how long a request waits for a device where none is left; 0: it fails at once.
    """

    resource: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    wait_minutes: float = field(default=0.0, compare=False)  # the same devices, however long one waits

    def lock(self, number: int) -> str:
        """What is kept from others while the device of this number measures: by labels alone, its machine."""
        return f"{self.resource}-{number}" if self.resource else MACHINE

    @classmethod
    def of(cls, name: str, given: Mapping[str, Any]) -> Place:
        """A place from a target's description.

        Args:
            name: the target's.
            given: of the keys "resource", "labels" and "wait_minutes".

        Raises:
            UserError: a value is none, or neither a resource nor labels are named.
        """
        resource, labels = given.get("resource", ""), given.get("labels", {})
        wait = given.get("wait_minutes", 0.0)
        if not isinstance(resource, str) or ("resource" in given and not resource):
            raise UserError(f"target {name!r}: resource is {resource!r}, give the name of a Ray resource")
        pairs = labels.items() if isinstance(labels, Mapping) else [(None, None)]
        if not all(isinstance(text, str) for pair in pairs for text in pair):
            raise UserError(f"target {name!r}: labels is {labels!r}, give a mapping of texts")
        if type(wait) not in (int, float) or not 0 <= wait < float("inf"):
            raise UserError(f"target {name!r}: wait_minutes is {wait!r}, give a number from 0 on")
        if not resource and not labels:
            raise UserError(f"target {name!r}: wait_minutes is for devices by resource or labels, name one")
        return cls(resource, tuple(sorted(pairs)), float(wait))  # type: ignore[arg-type]

    def spec(self) -> dict[str, Any]:
        """What ``of`` makes this place of."""
        whole: dict[str, Any] = {"resource": self.resource, "wait_minutes": self.wait_minutes}
        found = {key: value for key, value in whole.items() if value}
        return {**found, "labels": dict(self.labels)} if self.labels else found

    def devices(self, nodes: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
        """The devices among nodes, each by its node and its number there.

        Args:
            nodes: as ``ray.nodes()`` has them.
        """
        found = []
        for node in nodes:
            labels = node.get("Labels") or {}
            if not node["Alive"] or any(labels.get(name) != value for name, value in self.labels):
                continue
            units = int(node.get("Resources", {}).get(self.resource, 0)) if self.resource else 1
            found += [(str(node["NodeID"]), number) for number in range(units)]
        return found

    def missing(self, nodes: Iterable[Mapping[str, Any]]) -> str:
        """What to say where no node has such a device."""
        alive = [node for node in nodes if node["Alive"]]
        wanted = [f"the resource {self.resource!r}"] if self.resource else []
        wanted += [f"the label {name}={value}" for name, value in self.labels]
        known = sorted({name for node in alive for name in node.get("Resources", {}) if ":" not in name})
        return f"no node of the cluster has {' and '.join(wanted)}: its resources are {', '.join(known)}"


KEYS = frozenset(each.name for each in fields(Place))
