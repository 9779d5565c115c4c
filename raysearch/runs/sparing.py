"""Which targets' latencies a search may predict for candidates that wait to be chosen."""

from __future__ import annotations

import math
from contextlib import suppress

from raysearch.backends import profiles, spec_of
from raysearch.backends.base import Backend, Estimator, MeasurementError
from raysearch.backends.measurement.remote import RemoteService
from raysearch.objectives import Goals
from raysearch.record.scores import goals_of
from raysearch.runs.session import Session


def spare_measurements(session: Session, service: RemoteService) -> None:
    """Allow predictions where candidates wait after step 0: of those that train, all are measured.

    Targets with a meter measure every candidate: a prediction has no energy.
    """
    if session.work.screen == 1:
        return
    goals = goals_of(session.record)
    for target in session.setup.measured:
        if not isinstance(target, Estimator) and "energy_mj" not in target.figures:
            service.spare(spec_of(target), _known(target), limits(goals, target))


def limits(goals: Goals, target: Backend) -> list[float]:
    """The latencies of a target, in ms, at which a constraint decides on a candidate."""
    found = []
    for constraint, limit in zip(goals.constraints, goals.limits(step=0).tolist(), strict=True):
        metric, _, name = constraint.metric.partition("/")
        if name == target.name and math.isfinite(limit):
            found += [limit] if metric == "latency_ms" else []
            found += [1e3 * target.batch / limit] if metric == "throughput" and limit > 0 else []
    return found


def _known(target: Backend) -> dict[str, object] | None:
    """The predictor of the target's profile, where there is one."""
    with suppress(MeasurementError):  # its device is away just now
        profile = profiles.stored(target)
        if profile is not None:
            return dict(profile["predictor"])
    return None
