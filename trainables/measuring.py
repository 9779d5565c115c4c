"""How a trial, anywhere in the cluster, has its model measured by the service of the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raysearch.backends import spec_of
from raysearch.backends.base import Backend, Feed
from raysearch.backends.measurement.remote import connect
from raysearch.trainables.setup import Measure


def measure_through(service: str) -> Measure:
    """A ``Measure`` that sends each model to the running service of this name and waits for its turn."""

    def measure(
        target: Backend,
        path: Path,
        example: Feed,
        *,
        reference: bool = False,
        again: bool = False,
    ) -> dict[str, Any]:
        remote = connect(service)
        method = remote.set_reference if reference else remote.remeasure if again else remote.measure
        return method(spec_of(target), path.read_bytes(), example)

    return measure
