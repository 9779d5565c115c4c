"""Models find their way to devices: each target's requests go to one of its devices that is free.

``Devices`` is the front of the measurement service: an actor of Ray with asynchronous methods, which starts
one process (a ``MeasurementService``) for each device and hands it one model at a time, in the order in which
they came. Where a device is lost with its node the request goes to another one of the same target, or waits
for one. So that figures of several devices of a target are of one kind, each is given the target's reference
before its first model, with the quiet latency that the first device found.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysearch import backends
from raysearch.backends import Spec
from raysearch.backends.base import Array, Backend, Feed, MeasurementError
from raysearch.backends.boards.target import OnBoard
from raysearch.backends.measurement.lock import MACHINE
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.remote import RemoteService
from raysearch.backends.measurement.service import MeasurementService
from raysearch.backends.measurement.spared import WORTH_S, Description, Seconds, Spared, is_prediction
from raysearch.backends.on_nodes import OnNodes
from raysearch.backends.place import Place
from raysearch.basics.caching import cache_folder

# A model that kills the process is refused by the next one, so only as many restarts as there are such
# models.
_RESTARTS = 20
_LOSSES = 3  # of a device under one request, after which it is the request's fault
_LOOK_S = 1.0  # between looks for devices that have come
_OPERATORS = "operators"  # of a measurement as a dictionary: what its latency is learnt by


Where = Place | str | None
"""Devices of nodes, a board by its name, or the home node's processor."""


@dataclass(frozen=True, eq=False)
class _Reference:
    model: bytes
    example: Feed


@dataclass(eq=False)
class _Unit:
    """A device with its process.

    Attributes:
        where: its node, and its number there.
        actor: the process.
        references: those that it was given, by target.
    """

    where: tuple[str, int]
    actor: Any
    references: dict[str, _Reference] = field(default_factory=dict)


@dataclass(eq=False)
class _Pool:
    """The devices of a place, who waits for one, and what a measurement there takes."""

    place: Where
    seconds: Seconds = field(default_factory=Seconds)
    units: dict[tuple[str, int], _Unit] = field(default_factory=dict)
    free: deque[_Unit] = field(default_factory=deque)
    waiting: deque[asyncio.Future[_Unit]] = field(default_factory=deque)
    looked: float = -math.inf

    @property
    def wait(self) -> float:
        """Seconds until a device is free for who comes now; inf where there is none."""
        ahead = len(self.waiting) + len(self.units) - len(self.free)
        return self.seconds.mean * ahead / len(self.units) if self.units else math.inf

    def offer(self, unit: _Unit) -> None:
        """Hand a device to who has waited longest, or keep it."""
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(unit)
                return
        self.free.append(unit)


Start = Callable[[tuple[str, int], Where], Any]
Nodes = Callable[[], list[dict[str, Any]]]


class Devices:
    """Hands models to devices; all methods are coroutines, named as those of ``MeasurementService``.

    Args:
        home: the node whose processor is measured for targets that name no place.
        start: starts the process of a device; a function of its node and number, and its place.
        nodes: the cluster's, as ``ray.nodes()`` has them.
    """

    def __init__(self, home: str, start: Start, nodes: Nodes = ray.nodes) -> None:
        self._home, self._start, self._nodes = home, start, nodes
        self._pools: dict[Where, _Pool] = {}
        self._references: dict[str, _Reference] = {}
        self._known: dict[str, dict[str, Any]] = {}
        self._keys: dict[tuple[str, bytes, str], str] = {}
        self._spared: dict[str, Spared] = {}

    async def set_reference(
        self, target: Spec, model: bytes, example: Feed, description: Description | None = None
    ) -> dict[str, Any]:
        """See ``MeasurementService.set_reference``; the target's other devices get it as they are used."""
        self._keys.clear()  # what is compared with another reference is another figure
        return await self._measured(target, "set_reference", model, example, description)

    async def measure(
        self, target: Spec, model: bytes, example: Feed, description: Description | None = None
    ) -> dict[str, Any]:
        """See ``MeasurementService.measure``; a prediction where that is allowed, and will do."""
        inputs = [(name, array.shape, str(array.dtype)) for name, array in example.items()]
        what = (json.dumps(target), hashlib.sha256(model).digest(), str(inputs))
        known = self._known.get(self._keys.get(what, ""))
        if known is not None:  # no device need be asked for what is the same to the last bit
            return {**known, "cached": True}
        backend = backends.get(target)
        if description is not None and description.spare and self._takes_long(backend):
            prediction = self._spared_of(backend.name).prediction(description)
            if prediction is not None:
                return prediction
        measured = await self._measured(target, "measure", model, example, description)
        self._keys[what] = measured["key"]
        return measured

    async def remeasure(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """See ``MeasurementService.remeasure``."""
        return await self._measured(target, "remeasure", model, example)

    async def run(self, target: Spec, model: bytes, feed: Feed, *, optimize: bool) -> tuple[Array, ...]:
        """See ``MeasurementService.run``."""
        outputs: tuple[Array, ...] = await self._ask(target, "run", model, feed, optimize)
        return outputs

    async def spare(self, target: Spec, known: Mapping[str, Any] | None, limits: list[float]) -> None:
        """Predict what need not be measured of a target from now on; see ``Spared.allow``."""
        self._spared_of(backends.get(target).name).allow(known, limits)

    async def known(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """See ``MeasurementService.known``: every device is told; operators are learnt by."""
        found = {str(m["key"]): dict(m) for m in measurements if not is_prediction(m)}
        for measured in found.values():
            if operators := measured.pop(_OPERATORS, None):
                self._spared_of(measured["target"]).learn(measured, operators)
        self._known |= found
        for pool in self._pools.values():
            for unit in pool.units.values():
                await unit.actor.known.remote(list(found.values()))

    async def close(self) -> None:
        """Remove what the devices' processes have kept; the last call."""
        for pool in self._pools.values():
            for unit in pool.units.values():
                with suppress(RayActorError, ActorUnschedulableError):  # it is gone with its node
                    await unit.actor.close.remote()

    async def _measured(
        self,
        target: Spec,
        method: str,
        model: bytes,
        example: Feed,
        description: Description | None = None,
    ) -> dict[str, Any]:
        start = time.monotonic()
        measured: dict[str, Any] = await self._ask(target, method, model, example)
        self._known[measured["key"]] = measured
        if description is None:
            return measured
        self._spared_of(measured["target"]).learn(measured, description.operators)
        # A run that is resumed learns again from what took long, and measures the rest.
        slow = time.monotonic() - start > WORTH_S
        return {**measured, _OPERATORS: dict(description.operators)} if slow else measured

    def _spared_of(self, target: str) -> Spared:
        return self._spared.setdefault(target, Spared(target))

    def _takes_long(self, backend: Backend) -> bool:
        """Whether a figure of a target that is asked for now would take longer than it is worth."""
        place = _place_of(backend)
        pool = self._pools.setdefault(place, _Pool(place))
        self._look_again(pool)
        return pool.wait + self._spared_of(backend.name).seconds.median > WORTH_S

    async def _ask(self, target: Spec, method: str, *arguments: Any) -> Any:
        """Have a device of the target do it, and another one where that is lost meanwhile."""
        backend = backends.get(target)
        inner = backends.spec_of(backend.inner) if isinstance(backend, OnNodes) else target
        place = _place_of(backend)
        pool = self._pools.setdefault(place, _Pool(place))
        first = method == "measure" and backend.name not in self._references
        if first:
            # The first model is compared with itself, and whatever comes next, on any device, with it.
            self._references[backend.name] = _Reference(*arguments)
        for _ in range(_LOSSES):
            unit = await self._take(pool, backend)
            try:
                if method == "set_reference":
                    await unit.actor.known.remote(list(self._known.values()))
                else:
                    await self._compare(unit, backend.name, inner)
                start = time.monotonic()
                answer = await getattr(unit.actor, method).remote(inner, *arguments)
                if method == "measure" and not answer.get("cached"):
                    pool.seconds.add(time.monotonic() - start)
                    self._spared_of(backend.name).seconds.add(time.monotonic() - start)
                if method == "set_reference":
                    self._references[backend.name] = _Reference(*arguments)
                    unit.references[backend.name] = self._references[backend.name]
            except RayTaskError as error:
                pool.offer(unit)
                if first:  # what cannot run is nothing to compare with
                    self._references.pop(backend.name, None)
                raise error.cause from error
            except (RayActorError, ActorUnschedulableError):
                pool.units.pop(unit.where, None)
                continue
            except BaseException:  # whatever it is, the device is there for the next
                pool.offer(unit)
                raise
            pool.offer(unit)
            return answer
        raise MeasurementError(f"target {backend.name!r}: its device was lost {_LOSSES} times in a row")

    async def _take(self, pool: _Pool, backend: Backend) -> _Unit:
        """A device that is free; waits for its turn, and as the place says for one where none is left."""
        self._look_again(pool)
        if pool.free and not pool.waiting:
            return pool.free.popleft()
        future: asyncio.Future[_Unit] = asyncio.get_running_loop().create_future()
        pool.waiting.append(future)
        alone_since = time.monotonic()
        while True:
            done, _ = await asyncio.wait([future], timeout=_LOOK_S)
            if done:
                return future.result()
            self._look(pool)
            if pool.units:
                alone_since = time.monotonic()
            patience = 60 * backend.place.wait_minutes if isinstance(backend, OnNodes) else 0.0
            if not pool.units and time.monotonic() - alone_since >= patience and not future.done():
                future.cancel()
                raise MeasurementError(self._none_left(pool, backend))

    def _none_left(self, pool: _Pool, backend: Backend) -> str:
        if not isinstance(pool.place, Place):
            return f"target {backend.name!r}: the node that measures is gone"
        minutes = backend.place.wait_minutes if isinstance(backend, OnNodes) else 0.0
        waited = f" (waited {minutes:g} minutes)" if minutes else ""
        return f"target {backend.name!r}: {pool.place.missing(self._nodes())}{waited}"

    def _look_again(self, pool: _Pool) -> None:
        """Look for devices where none is free, or nobody looked lately."""
        if time.monotonic() - pool.looked > _LOOK_S or not pool.free:
            self._look(pool)

    def _look(self, pool: _Pool) -> None:
        """Start the processes of devices that have come, and forget those that are gone."""
        pool.looked = time.monotonic()
        nodes = self._nodes()
        here = {node["NodeID"] for node in nodes if node["Alive"]}
        devices = pool.place.devices(nodes) if isinstance(pool.place, Place) else [(self._home, 0)]
        for where in devices:
            if where[0] in here and where not in pool.units:
                pool.units[where] = _Unit(where, self._start(where, pool.place))
                pool.offer(pool.units[where])
        for where in [where for where in pool.units if where[0] not in here]:
            unit = pool.units.pop(where)
            if unit in pool.free:
                pool.free.remove(unit)

    async def _compare(self, unit: _Unit, target: str, inner: Spec) -> None:
        """Give a device the target's reference, with what is known of it."""
        reference = self._references.get(target)
        if reference is not None and unit.references.get(target) is not reference:
            await unit.actor.known.remote(list(self._known.values()))
            await unit.actor.set_reference.remote(inner, reference.model, reference.example)
            unit.references[target] = reference


def _place_of(backend: Backend) -> Where:
    if isinstance(backend, OnNodes):
        return backend.place
    return backend.board.name if isinstance(backend, OnBoard) else None


def start_process(protocol: Protocol | None, where: tuple[str, int], place: Where) -> Any:
    """The process of a device, as an actor on its node that needs no CPU of the cluster's.

    If a model kills it, Ray starts it again: that model's measurement fails with a MeasurementError, the
    others that wait are not lost.
    """
    node, number = where
    # Known before the process starts, so that one that is started again finds it.
    folder = Path(tempfile.gettempdir()) / f"raysearch-measure-{uuid4().hex}"
    cache = cache_folder()
    shared = None if cache is None else cache / "figures"
    device = place.lock(number) if isinstance(place, Place) else place or MACHINE
    return (
        ray.remote(MeasurementService)
        .options(
            num_cpus=0,
            max_concurrency=1,
            max_restarts=_RESTARTS,
            max_task_retries=_RESTARTS,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(protocol, folder, shared, device)
    )


def start_service(name: str, protocol: Protocol | None = None) -> RemoteService:
    """Start the service, whose targets without a place are measured on this node.

    It lives until ``stop``, or until the driver that started it ends.

    Args:
        name: the actor's name, under which ``connect`` finds it. Services of other names or clusters may run
            on the same machine: while one measures the others wait.
        protocol: how to measure.

    Raises:
        ValueError: a service of this name is running.
    """
    node = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    actor = ray.remote(Devices).options(name=name, num_cpus=0, scheduling_strategy=here)
    return RemoteService(actor.remote(node, partial(start_process, protocol)))
