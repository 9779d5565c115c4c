"""How a trial, anywhere in the cluster, has its model measured by the service of the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raysearch.backends import spec_of
from raysearch.backends.base import Backend, Feed
from raysearch.backends.measurement.remote import connect
from raysearch.backends.measurement.spared import Description
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
        description: Description | None = None,
    ) -> dict[str, Any]:
        remote, model = connect(service), path.read_bytes()
        if again:
            return remote.remeasure(spec_of(target), model, example)
        method = remote.set_reference if reference else remote.measure
        return method(spec_of(target), model, example, description)

    return measure
