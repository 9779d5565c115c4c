"""The router on Ray Serve: one deployment, whose replicas hold the sessions of all variants.

The rule stands in front of the queue inside each replica, so that a request takes one hop. What replicas
share, limits that change, another front and their counts, goes through one small actor.

``application`` is the builder for a Serve config or KubeRay's RayService:

    import_path: raysearch.serving.deployment:application
    args: {run: /runs/digits, slo_ms: 20, token: "..."}
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import ray

from raysearch.basics.environment import NO_DASHBOARD, environment
from raysearch.basics.failures import RunError, UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.serving import haproxy
from raysearch.serving.hall import opened
from raysearch.serving.limits import Limits
from raysearch.serving.replica import NAMESPACE, Replica, board_of, serve_itself
from raysearch.serving.variants import Front, read_front

APP = "raysearch"
_NUMBERS = ("min_replicas", "max_replicas")
_NO_LIMITS = ("run", "token", *_NUMBERS)
_ARGS = (*_NO_LIMITS, "slo_ms", "reserve", "rule", "max_memory_mb")
_WAITING = 4.0  # requests that a replica holds, on average, when another one is asked for
_ONGOING = 4096  # the queue is the replica's own: none waits before it
_DRAIN_S = 10.0


def application(args: Mapping[str, Any]) -> Any:
    """The Serve application of a front.

    Args:
        args: "run", a run folder or an exported front, which every node can read; "token", which requests
            have to bring, "" for none; and, if wanted, "slo_ms" and the other ``Limits``, "min_replicas" and
            "max_replicas" (1 and the cluster's CPUs), between which the queue decides.

    Raises:
        UserError: an argument is missing, unknown or out of its range, or the front cannot be served.
        MissingExtra: Ray Serve is not installed.
    """
    checked(args)
    return _bound(args)


def checked(args: Mapping[str, Any]) -> Front:
    """The front that is to be served, after all that replicas would do with it has been tried.

    Args:
        args: see ``application``.

    Raises:
        UserError: as of ``application``.
    """
    for name in args:
        if name not in _ARGS:
            raise UserError(f"argument {name!r} is unknown: {did_you_mean(name, _ARGS)}")
    if not isinstance(args.get("run"), str | Path) or not isinstance(args.get("token"), str):
        raise UserError(
            'give "run", a folder, and "token", which requests have to bring ("" lets everybody in)'
        )
    for name in _NUMBERS:
        if name in args and (type(args[name]) is not int or args[name] < 1):
            raise UserError(f"{name} is {args[name]!r}: give a whole number of 1 or more")
    least, most = args.get("min_replicas", 1), args.get("max_replicas")
    if most is not None and least > most:
        raise UserError(
            f"min_replicas is {least} and max_replicas {most}: give 1 <= min_replicas <= max_replicas"
        )
    limits, front = _limits(args), read_front(args["run"])
    opened(front, limits)
    return front


def _limits(args: Mapping[str, Any]) -> Limits:
    return Limits().changed({name: value for name, value in args.items() if name not in _NO_LIMITS})


def _bound(args: Mapping[str, Any]) -> Any:
    serve, least = serve_itself(), args.get("min_replicas", 1)
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="Variants",
        max_ongoing_requests=_ONGOING,
        autoscaling_config={
            "min_replicas": least,
            "initial_replicas": least,
            "max_replicas": args.get("max_replicas", max(least, _cpus())),
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
    return deployment.bind(str(args["run"]), _limits(args).plain(), args["token"])


@contextlib.contextmanager
def running(args: Mapping[str, Any], host: str, port: int) -> Iterator[Front]:
    """Serve a front while the context lasts, on the cluster of RAY_ADDRESS, else on this machine.

    Whatever it ends by, requests under way are answered first. Of a cluster nothing else is ended.

    Args:
        args: see ``application``.
        host: to listen on.
        port: to listen on.

    Raises:
        UserError: it cannot be served, there or at all; nothing has been started then, or is ended again.
    """
    front, address = checked(args), os.environ.get("RAY_ADDRESS") or "local"
    local = address == "local"
    if local:
        _check_free(host, port)
    with contextlib.ExitStack() as settings:
        if local:
            settings.enter_context(haproxy.set_up())
            settings.enter_context(environment(NO_DASHBOARD))
        serve = serve_itself()
        settings.enter_context(_quiet())
        ray.init(
            address=address,
            log_to_driver=False,
            include_dashboard=False if local else None,
            logging_level=logging.ERROR,
        )
        try:
            if local and args.get("min_replicas", 1) > _cpus():
                raise UserError(
                    f"{args['min_replicas']} replicas are too many for this machine: one takes a processor,"
                    f" of which Ray finds {_cpus()}"
                )
            serve.start(http_options={"host": host, "port": port})
            _check_listens(host, port)
            _remove(serve)  # what a command that was killed has left on a cluster
            deployed = None
            try:
                _deploy(serve, args)
                deployed = _deployed(serve)
                yield front
            finally:
                if deployed in (None, _deployed(serve)):  # else another command has taken its place
                    _remove(serve)
        finally:
            if local:
                serve.shutdown()
            ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What fails is raised: Serve's warnings, and what Ray prints of actors that end, say nothing more."""
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with mock.patch.object(ray._private.worker, "_worker_logs_enabled", False, create=True):
            yield
    finally:
        logger.setLevel(level)


def _deploy(serve: Any, args: Mapping[str, Any]) -> None:
    from ray.serve.exceptions import RayServeException

    quiet = {"enable_access_log": False}
    try:
        serve.run(_bound(args), name=APP, route_prefix="/", logging_config=quiet)
    except (RuntimeError, RayServeException) as error:  # also where another application has the prefix
        raise RunError(f"the replicas do not start: {str(error).strip().splitlines()[-1]}") from error


def _check_free(host: str, port: int) -> None:
    try:
        (family, *_, place) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(place)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--host {host} and --port {port} cannot be listened on ({reason}): give others"
        ) from None


def _check_listens(host: str, port: int) -> None:
    """Serve that runs on a cluster already goes on as it is, whatever is asked for."""
    from ray.serve.context import _get_global_client

    found: Any = _get_global_client()
    found = found.http_config
    if (found.host, found.port) != (host, port):
        raise UserError(
            f"--host is {host} and --port {port}, and Serve on this cluster listens on {found.host}, port"
            f" {found.port}: give those, or shut it down"
        )


def _deployed(serve: Any) -> float | None:
    """When the application that runs was deployed."""
    found = serve.status().applications.get(APP)
    return found.last_deployed_time_s if found else None


def _remove(serve: Any) -> None:
    """End the application once what is under way is answered, and forget what was changed."""
    serve.delete(APP)
    with contextlib.suppress(ValueError):
        ray.kill(ray.get_actor(board_of(APP), namespace=NAMESPACE))


def update(run: str) -> None:
    """Have all replicas serve another front, with which those that are added later begin too.

    Raises:
        UserError: it cannot be served in place of the one that is, which goes on.
    """
    board: Any = ray.get_actor(board_of(APP), namespace=NAMESPACE)
    errors: list[str] = ray.get(board.change.remote(front=run))
    if errors:
        raise UserError(errors[0])


def _cpus() -> int:
    resources: dict[str, float] = ray.cluster_resources() if ray.is_initialized() else {}  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))
