"""A target on nodes of a cluster: what depends on the device is asked there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray

from raysearch.backends.base import Backend, MeasurementError, runs_branches
from raysearch.backends.place import Place
from raysearch.backends.sent import Sent, check_timed


@dataclass(frozen=True)
class OnNodes(Sent):
    """A target on devices of a cluster's nodes.

    Whether its runtime is there, its version and its bits are asked on one of them; until Ray runs nothing is
    known of it.

    Attributes:
        place: which devices.
    """

    place: Place

    @classmethod
    def of(cls, inner: Backend, given: Mapping[str, Any]) -> OnNodes:
        """A target from its description; see ``Place.of``."""
        check_timed(inner)
        return cls(inner, place=Place.of(inner.name, given))

    def spec(self) -> dict[str, Any]:
        """Where it is, as ``Place.of`` takes it."""
        return self.place.spec()

    @property
    def branches(self) -> bool:
        """Whether its runtime runs ONNX's ``If``."""
        return runs_branches(self.inner)

    def unavailable(self) -> str | None:
        """Why no device has the runtime, or that there is no such device; None before Ray runs."""
        if not ray.is_initialized():
            return None
        nodes = _nodes()
        devices = self.place.devices(nodes)
        if not devices:
            return None if self.place.wait_minutes else self.place.missing(nodes)
        reason: str | None = self._said["unavailable"]
        return reason

    def missing(self) -> str:
        """That the cluster has no such device now, in a sentence; empty where it has one."""
        nodes = _nodes()
        return "" if self.place.devices(nodes) else self.place.missing(nodes)

    def weight_bits(self) -> int:
        """The least that the devices' nodes say; 7, which is exact everywhere, while there is none."""
        nodes = {node for node, _ in self.place.devices(_nodes())} if ray.is_initialized() else ()
        return min((int(_asked(self.inner, node)["weight_bits"]) for node in nodes), default=7)  # type: ignore[arg-type]

    def version(self) -> str:
        """The runtime's version on the device."""
        return str(self._said["version"])

    def device(self) -> str:
        """The device's model name."""
        return str(self._said["device"])

    @property
    def _said(self) -> dict[str, Any]:
        devices = self.place.devices(_nodes())
        if not devices:
            raise MeasurementError(f"target {self.name!r}: {self.place.missing(_nodes())}")
        return _asked(self.inner, devices[0][0])  # type: ignore[arg-type]


def _nodes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


@cache
def _asked(backend: Any, node: str) -> dict[str, Any]:
    """What a runtime says of itself on a node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(described).options(num_cpus=0, scheduling_strategy=there)
    found: dict[str, Any] = ray.get(task.remote(backend))
    return found


def described(backend: Backend) -> dict[str, Any]:
    """What a backend says of itself on this machine: "unavailable", and if it is None the rest."""
    reason = backend.unavailable()
    if reason is not None:
        return {"unavailable": reason, "weight_bits": 8}
    return {
        "unavailable": None,
        "weight_bits": backend.weight_bits(),
        "version": backend.version(),
        "device": backend.device(),
    }
