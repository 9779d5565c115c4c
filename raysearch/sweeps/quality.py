"""How good a swept network is: the task's first metric, negated where lower is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raysearch.basics.failures import UserError
from raysearch.metrics import find
from raysearch.objectives import Constraint, Objective
from raysearch.record.run_record import RunRecord


def quality_of(
    metrics: Mapping[str, str], objectives: Sequence[Objective] = (), constraints: Sequence[Constraint] = ()
) -> Objective:
    """The task's first metric, and which way it is better by the goals of a study.

    Args:
        metrics: the task's, by name, with their units.
        objectives: of a study; that on the metric says which way it is better.
        constraints: of a study; without such an objective, one on the metric does.

    Raises:
        UserError: neither says it, and the metric is no accuracy.
    """
    name = next(iter(metrics))
    said = {c.metric: not c.upper for c in constraints} | {o.metric: o.maximize for o in objectives}
    higher = said.get(name, find(name, metrics).higher_is_better)
    if higher is None:
        raise UserError(
            f"nothing says whether more of the task's metric {name!r} is better: "
            f"give objectives: [maximize {name}] or [minimize {name}]"
        )
    return Objective(name, higher)


def quality_in(record: RunRecord) -> Objective:
    """The same of a sweep's journal."""
    return Objective.parse(record.header["study"]["objectives"][0])


def column(quality: Objective) -> str:
    """What tables and curves call it: "accuracy", or "-rmse" where lower is better."""
    return quality.metric if quality.maximize else f"-{quality.metric}"


def signed(quality: Objective, figure: float) -> float:
    """A figure of the metric as tables hold it: the more, the better."""
    return figure if quality.maximize else -figure
