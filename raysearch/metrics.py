"""The metrics that trials report, and the refusal of objectives and constraints on any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.objectives import Constraint, Objective

#: Metric -> what it is; the study file's documentation lists them.
METRICS = {
    "accuracy": "the task's metric of the exported file on the validation split, the lowest over the targets",
    "size_mb": "weights and biases in 10^6 bytes, bits counted analytically (static)",
    "file_mb": "bytes of the file that is shipped, in 10^6 (static)",
    "macs": "multiply-accumulate operations of one inference (static)",
    "params": "number of weights (static)",
    "nonzero_rate": "share of the weights that are not zero",
}
TARGET_METRICS = {
    "accuracy": "the task's metric of the exported file in this target's runtime",
    "latency_ms": "milliseconds of one inference, batch 1 (measured)",
    "peak_memory_mb": "weights plus the largest sum of live tensors, in 10^6 bytes (static)",
}


def reported(targets: Iterable[str]) -> list[str]:
    """Every metric that a trial reports on these targets: "accuracy", "latency_ms/onnxruntime-cpu", ..."""
    return [*METRICS, *(f"{metric}/{target}" for target in targets for metric in TARGET_METRICS)]


def check_metrics(
    objectives: Iterable[Objective], constraints: Iterable[Constraint], targets: Sequence[str]
) -> None:
    """Refuse goals that no trial could ever report.

    Raises:
        ValueError: a metric is unknown, or its target is not among ``targets``, or it is energy.
    """
    known = reported(targets)
    goals = [("objective", goal) for goal in objectives] + [("constraint", goal) for goal in constraints]
    for kind, goal in goals:
        if goal.metric.split("/")[0] == "energy_mj":
            raise UserError(
                f'{kind} "{goal}" needs an energy meter and none is readable on these targets: '
                f"use latency_ms or macs instead"
            )
        if goal.metric not in known:
            raise UserError(
                f'{kind} "{goal}" is on a metric that nothing reports; {did_you_mean(goal.metric, known)}'
            )
