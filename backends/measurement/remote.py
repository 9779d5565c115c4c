"""The measurement service on a cluster: an actor of Ray, and its methods from anywhere.

Trials all over the cluster send it model files through a ``RemoteService``; ``devices`` says how those find
their way to a device. It asks for no CPU, so that a search on a small machine keeps its cores for training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from raysearch.backends import Spec
from raysearch.backends.base import Array, DeviceLost, Feed, MeasurementError
from raysearch.backends.measurement.spared import Description
from raysearch.basics.failures import first_line


class RemoteService:
    """The service's methods from anywhere in the cluster; it may be pickled and sent to trials.

    Calls wait for their turn. Errors are the service's own, without Ray's wrapping.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def set_reference(
        self, target: Spec, model: bytes, example: Feed, description: Description | None = None
    ) -> dict[str, Any]:
        """See ``MeasurementService.set_reference``."""
        return self._measurement("set_reference", target, model, example, description)

    def measure(
        self, target: Spec, model: bytes, example: Feed, description: Description | None = None
    ) -> dict[str, Any]:
        """See ``Devices.measure``."""
        return self._measurement("measure", target, model, example, description)

    def remeasure(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """See ``MeasurementService.remeasure``."""
        return self._measurement("remeasure", target, model, example)

    def over_data(self, target: Spec, model: bytes, cascade: list[bytes], inputs: Feed) -> dict[str, Any]:
        """See ``MeasurementService.over_data``."""
        return self._measurement("over_data", target, model, cascade, inputs)

    def spare(self, target: Spec, known: Mapping[str, Any] | None, limits: list[float]) -> None:
        """See ``Devices.spare``."""
        self._call("spare", target, known, limits)

    def run(self, target: Spec, model: bytes, feed: Feed, *, optimize: bool = True) -> tuple[Array, ...]:
        """See ``MeasurementService.run``."""
        outputs: tuple[Array, ...] = self._call("run", target, model, feed, optimize=optimize)
        return outputs

    def known(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """See ``MeasurementService.known``."""
        self._call("known", [dict(m) for m in measurements])

    def stop(self, *, now: bool = False) -> None:
        """End the service and remove its folder, or leave that where there is no time; for who started it."""
        import ray

        if not now:
            with suppress(MeasurementError):  # it is gone with its node
                self._call("close")
        ray.kill(self._actor)

    def _measurement(self, method: str, *arguments: Any) -> dict[str, Any]:
        measurement: dict[str, Any] = self._call(method, *arguments)
        return measurement

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self._actor, method).remote(*arguments, **options))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayActorError as error:
            raise DeviceLost(f"the measurement service is gone: {first_line(error)}") from error


def connect(name: str) -> RemoteService:
    """The running service of this name.

    Raises:
        ValueError: there is none.
    """
    import ray

    return RemoteService(ray.get_actor(name))
