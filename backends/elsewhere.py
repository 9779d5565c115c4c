"""A target whose devices are elsewhere: what it is asked goes through the measurement service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray

from raysearch.backends.base import Array, Backend, Feed, Form, Source
from raysearch.backends.place import Place


@dataclass(frozen=True)
class Elsewhere:
    """A target on devices of a cluster's nodes.

    What depends on the device (whether its runtime is there, its version, its bits) is asked there; until Ray
    runs nothing is known of it.

    Attributes:
        inner: the runtime, as it is on the device.
        place: which devices.
        service: the name of the measurement service, which a run gives to the targets of its trials.
    """

    inner: Backend
    place: Place
    service: str = ""

    @property
    def runtime(self) -> str:
        """The inner one's, as all that follow."""
        return self.inner.runtime

    @property
    def name(self) -> str:  # noqa: D102
        return self.inner.name

    @property
    def package(self) -> str:  # noqa: D102
        return self.inner.package

    @property
    def form(self) -> Form:  # noqa: D102
        return self.inner.form

    @property
    def figures(self) -> Mapping[str, Source]:  # noqa: D102
        return self.inner.figures

    @property
    def channel_multiple(self) -> int:  # noqa: D102
        return self.inner.channel_multiple

    @property
    def integers(self) -> frozenset[int]:  # noqa: D102
        return self.inner.integers

    @property
    def sparse(self) -> frozenset[str]:  # noqa: D102
        return self.inner.sparse

    @property
    def threads(self) -> int:  # noqa: D102
        return self.inner.threads

    @property
    def batch(self) -> int:  # noqa: D102
        return self.inner.batch

    def clock(self) -> Callable[[], int]:
        """The inner one's."""
        return self.inner.clock()

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

    def weight_bits(self) -> int:
        """What the device says; 8 while there is none."""
        return int(self._said["weight_bits"]) if self._there else 8

    def version(self) -> str:
        """The runtime's version on the device."""
        return str(self._said["version"])

    def device(self) -> str:
        """The device's model name."""
        return str(self._said["device"])

    def load(self, path: Path, *, optimize: bool = True) -> SentModel:
        """A model that is run on the device, batch by batch; see ``Backend.load``."""
        return SentModel(self, path.read_bytes(), optimize)

    @property
    def _there(self) -> bool:
        return ray.is_initialized() and bool(self.place.devices(_nodes()))

    @property
    def _said(self) -> dict[str, Any]:
        (node, _), *_ = self.place.devices(_nodes())
        return _asked(self.inner, node)  # type: ignore[arg-type]


class SentModel:
    """A model file that its target's device runs."""

    def __init__(self, target: Elsewhere, content: bytes, optimize: bool) -> None:
        self._target, self._content, self._optimize = target, content, optimize

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, computed on the device."""
        from raysearch.backends import spec_of
        from raysearch.backends.remote import connect

        return connect(self._target.service).run(
            spec_of(self._target), self._content, feed, optimize=self._optimize
        )

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, with the way to the device: the service is what measures it there."""
        return lambda: self(feed)


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
