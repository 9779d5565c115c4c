"""The service of a device on a cluster: a Ray actor on the device's node, and its methods from anywhere.

Trials all over the cluster send it model files through a ``RemoteService`` and queue there. It asks for no
CPU, so that a search on a small machine keeps its cores for training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from raysearch.backends import Spec
from raysearch.backends.base import Feed, MeasurementError
from raysearch.backends.protocol import Protocol
from raysearch.backends.service import MeasurementService
from raysearch.basics.failures import first_line

# A model that kills the process is refused by the next one, so only as many restarts as there are such
# models.
_RESTARTS = 20


class RemoteService:
    """The service's methods from anywhere in the cluster; it may be pickled and sent to trials.

    Calls wait for their turn. Errors are the service's own, without Ray's wrapping.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def set_reference(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """See ``MeasurementService.set_reference``."""
        return self._measurement("set_reference", target, model, example)

    def measure(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """See ``MeasurementService.measure``."""
        return self._measurement("measure", target, model, example)

    def remeasure(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """See ``MeasurementService.remeasure``."""
        return self._measurement("remeasure", target, model, example)

    def known(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """See ``MeasurementService.known``."""
        self._call("known", [dict(m) for m in measurements])

    def stop(self) -> None:
        """End the service and remove its folder; for who started it."""
        import ray

        self._call("close")
        ray.kill(self._actor)

    def _measurement(self, method: str, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        measurement: dict[str, Any] = self._call(method, target, model, example)
        return measurement

    def _call(self, method: str, *arguments: Any) -> Any:
        import ray

        try:
            return ray.get(getattr(self._actor, method).remote(*arguments))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayActorError as error:
            raise MeasurementError(f"the measurement service is gone: {first_line(error)}") from error


def start_service(name: str, protocol: Protocol | None = None) -> RemoteService:
    """Start the service as a named actor on this node, whose device it measures on.

    It lives until ``stop``, or until the driver that started it ends. If a model kills its process, Ray
    starts it again: that model's measurement fails with a MeasurementError, the others waiting are not lost.

    Args:
        name: the actor's name, under which ``connect`` finds it. Services of other names or clusters may run
            on the same machine: while one measures the others wait.
        protocol: how to measure.

    Raises:
        ValueError: a service of this name is running.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    # Known before the process starts, so that one that is started again finds it.
    folder = Path(tempfile.gettempdir()) / f"raysearch-measure-{uuid4().hex}"
    actor = (
        ray.remote(MeasurementService)
        .options(
            name=name,
            num_cpus=0,
            max_concurrency=1,
            max_restarts=_RESTARTS,
            max_task_retries=_RESTARTS,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(protocol, folder)
    )
    return RemoteService(actor)


def connect(name: str) -> RemoteService:
    """The running service of this name.

    Raises:
        ValueError: there is none.
    """
    import ray

    return RemoteService(ray.get_actor(name))
