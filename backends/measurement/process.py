"""The process of a device: a MeasurementService as an actor of Ray, which leaves behind what it died of.

Ray says of every dead process the same, whether its model crashed it or the system killed it. But a signal
that a process brings upon itself (SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS) can be caught, and Python writes
down where it came from; SIGKILL cannot, and leaves nothing. So the next process on the same device knows.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysearch.backends.measurement.lock import MACHINE
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService
from raysearch.backends.place import Place
from raysearch.basics.caching import cache_folder

Where = Place | str | None
"""Devices of nodes, a board by its name, or the home node's processor."""


class MeasuringProcess(MeasurementService):
    """The service in a process of its own.

    Args:
        protocol: how to measure.
        name: of the device, unique on its node: what its processes leave for each other stands under it.
        shared: see ``MeasurementService``, as for ``device``.
        device: what nobody else may use meanwhile.
    """

    def __init__(self, protocol: Protocol | None, name: str, shared: Path | None, device: str) -> None:
        folder = Path(tempfile.gettempdir()) / f"raysearch-measure-{name}"
        shutil.rmtree(folder, ignore_errors=True)  # the front gives what it had again
        super().__init__(protocol, folder, shared, device)
        self._trace = folder.with_suffix(".crash")
        self._before = _last_words(self._trace)
        self._written = self._trace.open("wb", buffering=0)
        faulthandler.enable(self._written, all_threads=False)

    def crash_before(self) -> str:
        """What the process before this one crashed of; empty where none did, or the system killed it."""
        return self._before

    def close(self) -> None:
        """See ``MeasurementService.close``."""
        super().close()
        self._trace.unlink(missing_ok=True)


def _last_words(trace: Path) -> str:
    """The first line that a dying process has written, such as "Fatal Python error: Segmentation fault"."""
    try:
        lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].removeprefix("Fatal Python error: ") if lines else ""


def start_process(protocol: Protocol | None, service: str, where: tuple[str, int], place: Where) -> Any:
    """The process of a device, as an actor on its node that needs no CPU of the cluster's.

    Ray does not start it again: who asks it does, and knows what it died of.

    Args:
        protocol: how to measure.
        service: tells the devices of one service from another's.
        where: its node, and its number there.
        place: what kind of device it is.
    """
    node, number = where
    name = hashlib.sha256(json.dumps([service, *where, str(place)]).encode()).hexdigest()[:16]
    cache = cache_folder()
    shared = None if cache is None else cache / "figures"
    device = place.lock(number) if isinstance(place, Place) else place or MACHINE
    return (
        ray.remote(MeasuringProcess)
        .options(
            num_cpus=0,
            max_concurrency=1,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(protocol, name, shared, device)
    )
