"""Models find their way to devices: each target's requests go to one of its devices that is free.

``Devices`` is the front of the measurement service: an actor of Ray with asynchronous methods, which starts
one process (see process.py) for each device and hands it one model at a time, in the order in which they
came. Where a process dies or a device is lost with its node, the request goes to another one of the same
target, to a new process, or waits. A model is blamed for crashes alone, and not before a third one. So that
figures of several devices of a target are of one kind, each process is given the target's reference before
its first model, with the quiet latency that the first device found.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysearch import backends
from raysearch.backends import Spec
from raysearch.backends.base import Array, Backend, DeviceLost, Feed, MeasurementError
from raysearch.backends.boards.target import OnBoard
from raysearch.backends.measurement.notes import Notes, Reference
from raysearch.backends.measurement.pool import Pool, Unit
from raysearch.backends.measurement.process import Where, start_process
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.remote import RemoteService
from raysearch.backends.measurement.spared import WORTH_S, Description, Spared
from raysearch.backends.on_nodes import OnNodes
from raysearch.backends.place import Place
from raysearch.basics.figures import is_prediction

_CRASHES = 3  # of a process under one model, after which it is the model's fault
_LOSSES = 20  # in a row under one request, whoever killed the process: no search is held up for ever
_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0  # before a request tries again; doubled each time
_LOOK_S = 1.0  # between looks for devices that have come
_OPERATORS = "operators"  # of a measurement as a dictionary: what its latency is learnt by
_CLOSING_S = 5.0  # for a process to remove what it has kept

_LOST = (RayActorError, ActorUnschedulableError)


Start = Callable[[tuple[str, int], Where], Any]
Nodes = Callable[[], list[dict[str, Any]]]


class Devices:
    """Hands models to devices; all methods are coroutines, named as those of ``MeasurementService``.

    Args:
        home: the node whose processor is measured for targets that name no place.
        start: starts the process of a device; a function of its node and number, and its place.
        nodes: the cluster's, as ``ray.nodes()`` has them.
        folder: where it notes what the next one has to know, if it is killed; None: nowhere.
    """

    def __init__(self, home: str, start: Start, nodes: Nodes = ray.nodes, folder: Path | None = None) -> None:
        self._home, self._start, self._nodes = home, start, nodes
        self._pools: dict[Where, Pool] = {}
        self._notes = Notes(folder)
        self._references = self._notes.references()
        self._keys: dict[tuple[str, bytes, str], str] = {}
        self._spared: dict[str, Spared] = {}
        self._known = {figure["key"]: figure for figure in map(self._learn, self._notes.figures())}
        for name, allowed in self._notes.spared().items():
            self._spared_of(name).allow(*allowed)
        self._crashes: Counter[str] = Counter()

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

    async def over_data(
        self, target: Spec, model: bytes, cascade: list[bytes], inputs: Feed
    ) -> dict[str, Any]:
        """See ``MeasurementService.over_data``."""
        found: dict[str, Any] = await self._ask(target, "over_data", model, cascade, inputs)
        return found

    async def run(self, target: Spec, model: bytes, feed: Feed, *, optimize: bool) -> tuple[Array, ...]:
        """See ``MeasurementService.run``."""
        outputs: tuple[Array, ...] = await self._ask(target, "run", model, feed, optimize)
        return outputs

    async def spare(self, target: Spec, known: Mapping[str, Any] | None, limits: list[float]) -> None:
        """Predict what need not be measured of a target from now on; see ``Spared.allow``."""
        name = backends.get(target).name
        self._spared_of(name).allow(known, limits)
        self._notes.note_spared(name, known, limits)

    async def known(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """See ``MeasurementService.known``: every device is told; operators are learnt by."""
        given = [m for m in measurements if "key" in m and not is_prediction(m)]
        found = {str(m["key"]): self._learn(m) for m in given}
        self._known |= found
        self._notes.note_figures(given)
        for pool in self._pools.values():
            for unit in list(pool.units.values()):
                with suppress(*_LOST):  # the one that follows it is told all
                    await unit.actor.known.remote(list(found.values()))

    async def close(self) -> None:
        """Remove what the devices' processes have kept; the last call."""
        for pool in self._pools.values():
            for unit in pool.units.values():
                # It is gone with its node, or measures for somebody who does not wait any more.
                with suppress(*_LOST, TimeoutError):
                    await asyncio.wait_for(unit.actor.close.remote(), _CLOSING_S)
        self._notes.remove()

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
            self._notes.note_figures([measured])
            return measured
        learnt = {**measured, _OPERATORS: dict(description.operators)}
        self._learn(learnt)
        self._notes.note_figures([learnt])
        # A run that is resumed learns again from what took long, and measures the rest.
        slow = time.monotonic() - start > WORTH_S
        return learnt if slow else measured

    def _learn(self, figure: Mapping[str, Any]) -> dict[str, Any]:
        """Learn by the operators of a figure that holds them; the figure without them."""
        measured = dict(figure)
        if operators := measured.pop(_OPERATORS, None):
            self._spared_of(measured["target"]).learn(measured, operators)
        return measured

    def _spared_of(self, target: str) -> Spared:
        return self._spared.setdefault(target, Spared(target))

    def _takes_long(self, backend: Backend) -> bool:
        """Whether a figure of a target that is asked for now would take longer than it is worth."""
        place = _place_of(backend)
        pool = self._pools.setdefault(place, Pool(place))
        self._look_again(pool)
        return pool.wait + self._spared_of(backend.name).seconds.median > WORTH_S

    async def _ask(self, target: Spec, method: str, *arguments: Any) -> Any:
        """Have a device of the target do it; the first model measured becomes the target's reference."""
        name = backends.get(target).name
        first = method == "measure" and name not in self._references
        if first:
            # It is compared with itself, and whatever comes next, on any device, with it.
            self._references[name] = Reference(*arguments)
        try:
            answer = await self._insist(target, method, *arguments)
        except BaseException:
            if first:  # what cannot run is nothing to compare with
                self._references.pop(name, None)
            raise
        if first or method == "set_reference":
            self._notes.note_reference(name, self._references[name])
        return answer

    async def _insist(self, target: Spec, method: str, *arguments: Any) -> Any:
        """The answer of a device of the target, or where that is lost of another or of its next process."""
        backend = backends.get(target)
        place = _place_of(backend)
        pool = self._pools.setdefault(place, Pool(place))
        for losses in range(_LOSSES):
            unit = await self._take(pool, backend)
            try:
                answer = await self._on(unit, pool, backend, method, *arguments)
            except _LOST:
                pool.lose(unit)
                await asyncio.sleep(min(_PAUSE_S * 2**losses, _LONGEST_PAUSE_S))
            except RayTaskError as error:
                pool.offer(unit)
                raise error.cause from error
            except BaseException:  # whatever it is, the device is there for the next
                pool.offer(unit)
                raise
            else:
                pool.offer(unit)
                return answer
        raise DeviceLost(
            f"target {backend.name!r}: the process that measures was killed {_LOSSES} times in a row, as the "
            "system does where memory runs out"
        )

    async def _on(self, unit: Unit, pool: Pool, backend: Backend, method: str, *arguments: Any) -> Any:
        """The answer of a device, whose process is given the target's reference before its first model.

        Raises:
            MeasurementError: the model, or the reference, has crashed its processes.
        """
        name = backend.name
        inner = backends.spec_of(backend.inner if isinstance(backend, OnNodes) else backend)
        if unit.new:
            unit.new = False
            suspect = pool.died.pop(unit.where, "")
            self._crashes[suspect] += bool(suspect and await unit.actor.crash_before.remote())
        if method == "set_reference":
            await unit.actor.known.remote(list(self._known.values()))
        elif (reference := self._references.get(name)) and unit.references.get(name) is not reference:
            self._begin(unit, name, reference.model, "its reference")
            await unit.actor.known.remote(list(self._known.values()))
            await unit.actor.set_reference.remote(inner, reference.model, reference.example)
            unit.references[name] = reference
        self._begin(unit, name, arguments[0], "this model")
        start = time.monotonic()
        answer = await getattr(unit.actor, method).remote(inner, *arguments)
        if method == "measure" and not answer.get("cached"):
            pool.seconds.add(time.monotonic() - start)
            self._spared_of(name).seconds.add(time.monotonic() - start)
        if method == "set_reference":
            self._references[name] = unit.references[name] = Reference(*arguments)
        return answer

    def _begin(self, unit: Unit, target: str, model: bytes, what: str) -> None:
        """Note what a device's process has in hand, if that has not crashed too many."""
        unit.at_work = f"{target} {hashlib.sha256(model).hexdigest()}"
        if self._crashes[unit.at_work] >= _CRASHES:
            raise MeasurementError(
                f"{target} crashed on {what}: its process died {_CRASHES} times while it ran"
            )

    async def _take(self, pool: Pool, backend: Backend) -> Unit:
        """A device that is free; waits for its turn, and as the place says for one where none is left."""
        self._look_again(pool)
        if pool.free and not pool.waiting:
            return pool.free.popleft()
        future: asyncio.Future[Unit] = asyncio.get_running_loop().create_future()
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
                raise DeviceLost(self._none_left(pool, backend))

    def _none_left(self, pool: Pool, backend: Backend) -> str:
        if not isinstance(pool.place, Place):
            return f"target {backend.name!r}: the node that measures is gone"
        minutes = backend.place.wait_minutes if isinstance(backend, OnNodes) else 0.0
        waited = f" (waited {minutes:g} minutes)" if minutes else ""
        return f"target {backend.name!r}: {pool.place.missing(self._nodes())}{waited}"

    def _look_again(self, pool: Pool) -> None:
        """Look for devices where none is free, or nobody looked lately."""
        if time.monotonic() - pool.looked > _LOOK_S or not pool.free:
            self._look(pool)

    def _look(self, pool: Pool) -> None:
        """Start the processes of devices that have come, and forget those that are gone."""
        pool.looked = time.monotonic()
        nodes = self._nodes()
        here = {node["NodeID"] for node in nodes if node["Alive"]}
        devices = pool.place.devices(nodes) if isinstance(pool.place, Place) else [(self._home, 0)]
        for where in devices:
            if where[0] in here and where not in pool.units:
                pool.units[where] = Unit(where, self._start(where, pool.place))
                pool.offer(pool.units[where])
        for where in [where for where in pool.units if where[0] not in here]:
            unit = pool.units.pop(where)
            if unit in pool.free:
                pool.free.remove(unit)


def _place_of(backend: Backend) -> Where:
    if isinstance(backend, OnNodes):
        return backend.place
    return backend.board.name if isinstance(backend, OnBoard) else None


def start_service(name: str, protocol: Protocol | None = None) -> RemoteService:
    """Start the service, whose targets without a place are measured on this node.

    It lives until ``stop``, or until the driver that started it ends. If it is killed, Ray starts it again,
    and who waits for an answer is not told.

    Args:
        name: the actor's name, under which ``connect`` finds it. Services of other names or clusters may run
            on the same machine: while one measures the others wait.
        protocol: how to measure.

    Raises:
        ValueError: a service of this name is running.
    """
    node = ray.get_runtime_context().get_node_id()
    folder = Path(tempfile.gettempdir()) / f"raysearch-measure-{uuid4().hex}"
    actor = ray.remote(Devices).options(
        name=name,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    start = partial(start_process, protocol, folder.name)
    return RemoteService(actor.remote(node, start, folder=folder))
