"""Room for a first trial: there, on its way, or never to come."""

from __future__ import annotations

import time
from collections.abc import Callable

import ray
from ray.exceptions import TaskUnschedulableError

from raysearch.basics.failures import UserError
from raysearch.runs.cluster.demand import Demand
from raysearch.runs.cluster.nodes import Nodes, is_own, is_scaled

_PATIENCE_S = 10.0  # in which the nodes, or the autoscaler, of a cluster that has just begun show themselves


def await_room(demand: Demand, say: Callable[[str], None]) -> None:
    """Wait until a node that could hold a trial is there.

    A cluster that does not grow is known from its nodes. Of one that grows Ray does not say how far: a task
    with the trial's demand makes a node come, and where the head was started with
    ``RAY_enable_infeasible_task_early_exit=true`` it fails if none ever will.

    Args:
        demand: a trial's.
        say: is told what is waited for.

    Raises:
        UserError: none ever will be, in one sentence.
    """
    end = time.monotonic() + (0.0 if is_own() else _PATIENCE_S)
    while not (there := _is_there(demand)) and not is_scaled():
        if time.monotonic() >= end:
            raise UserError(demand.missing(Nodes.now().alive))
        time.sleep(0.5)
    if there:
        return
    say(f"waiting for a node with {demand}")
    probe = ray.remote(_nothing).options(**demand.options()).remote()
    try:
        while not ray.wait([probe], timeout=1)[0]:  # in pieces, so that Ctrl-C is heard
            pass
    except BaseException:
        ray.cancel(probe)  # never once it has run: Ray 2.60 then ends the driver now and then
        raise
    try:
        ray.get(probe)
    except TaskUnschedulableError as error:
        raise UserError(
            f"resources asks for {demand}, and no node that the cluster may start has it"
        ) from error


def _is_there(demand: Demand) -> bool:
    return any(demand.fits(node) for node in Nodes.now().alive)


def _nothing() -> None:
    """The probe, which only has to be placed."""
