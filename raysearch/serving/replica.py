"""What each replica of the application does on Ray Serve: a router, and a line to the others."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import ray

from raysearch.basics import extras
from raysearch.basics.failures import UserError, failure
from raysearch.basics.garbage import hold_what_is_there
from raysearch.serving.board import Shared, State, follow
from raysearch.serving.counts import Counts
from raysearch.serving.http.application import Application
from raysearch.serving.router import Router

NAMESPACE = "raysearch-serving"


class Replica:
    """A router in a replica, and the replica's line to the others.

    Args:
        run: the front to begin with; what the board says goes before it.
        limits: likewise.
        token: see ``Application``.
    """

    def __init__(self, run: str, limits: Mapping[str, Any], token: str) -> None:
        # A worker that comes back from an inference must not wait for a whole turn of the event loop.
        sys.setswitchinterval(5e-4)
        context = serve_itself().get_replica_context()
        self._name = context.replica_id.unique_id
        actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(Shared)
        self._board = actor.options(
            name=board_of(context.app_name), namespace=NAMESPACE, get_if_exists=True, lifetime="detached"
        ).remote()
        state: State = ray.get(self._board.begin.remote(run, dict(limits)))
        self._router = Router(state["front"], **state["limits"])
        self._application = Application(self._router, token, self)
        self._line = threading.Thread(
            target=follow, args=(state, self._exchange, self._keep_to), name="raysearch-board", daemon=True
        )
        self._line.start()
        # What was imported is no garbage; to look through it takes as long as many a deadline.
        hold_what_is_there()

    def __serve_build_asgi_app__(self) -> Application:
        """What Serve sends requests to."""
        return self._application

    def check_health(self) -> None:
        """Serve replaces a replica of which this fails."""
        self._router.check_alive()
        if not self._line.is_alive():
            raise RuntimeError("the replica has lost its line to the others")

    async def change(self, changes: Mapping[str, Any]) -> None:
        """See ``Board``."""
        errors: list[str] = await self._board.change.remote(limits=dict(changes))
        if errors:
            raise UserError(errors[0])

    async def counts(self) -> Counts:
        """See ``Board``."""
        shared: Counts = await self._board.counts.remote()
        return shared

    def _exchange(self, state: State, error: str, newest: int) -> State:
        while True:
            counts = self._router.counts()
            try:
                told: State = ray.get(self._board.exchange.remote(self._name, state, counts, error, newest))
            except ray.exceptions.RayActorError:  # it is being started anew
                time.sleep(0.1)
            else:
                return told

    def _keep_to(self, state: State, wanted: State) -> tuple[State, str]:
        """Serve another front, or by other limits; see ``follow``."""
        error = ""
        try:
            if wanted["front_version"] != state["front_version"]:
                self._router.update(wanted["front"])
                state = state | {name: wanted[name] for name in ("front", "front_version")}
            self._router.change(**wanted["limits"])
            state = wanted
        except UserError as reason:  # this replica goes on as it was
            error = str(reason)
        except Exception as reason:  # of a user's files, likewise
            error = failure(reason)
        return state | {"version": wanted["version"]}, error

    def __del__(self) -> None:
        """Serve calls it when what was under way is done."""
        if hasattr(self, "_router"):
            self._router.close()


def board_of(app: str) -> str:
    """The name of the board of an application: two on one cluster share nothing."""
    return f"board of {app}"


def serve_itself() -> ModuleType:
    """Ray Serve, or a sentence on what it needs."""
    for package in ("starlette", "uvicorn"):  # without which it cannot even be imported
        extras.check(package, "serve")
    return extras.load("ray.serve", "serve")
