"""What inferences take over data, input by input: the work that a network does may depend on its input.

As of a latency (see ``protocol``) time is the thread's, and in units of the reference: of each block of
inputs the time is divided by what the reference takes beside it, so that slow phases of the machine cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.backends.measurement.protocol import Clock, Inference

Infer = Callable[[Any], object]

BLOCK = 16  # inputs between two looks at the reference
_REFERENCE_CALLS, _SETTLING_CALLS = 5, 2


def over_data(
    forms: Mapping[str, Infer], inputs: Sequence[Any], reference: Inference, clock: Clock
) -> dict[str, NDArray[np.float64]]:
    """The time of each input in each form of a network, as multiples of the reference's.

    Args:
        forms: of the network, by name; one inference of an input a call.
        inputs: one after another.
        reference: one inference of the reference a call.
        clock: the clocks.

    Returns:
        By form, shape (inputs,).
    """
    found: dict[str, list[float]] = {name: [] for name in forms}
    for start in range(0, len(inputs), BLOCK):
        block = inputs[start : start + BLOCK]
        unit = _reference_ns(reference, clock)
        for name, infer in forms.items():
            for each in block:  # latency is defined back to back: what ran before leaves its traces
                infer(each)
            found[name] += [_timed(lambda each=each, infer=infer: infer(each), clock) for each in block]  # type: ignore[misc]
        unit = (unit + _reference_ns(reference, clock)) / 2
        for times in found.values():
            times[start:] = [time / unit for time in times[start:]]
    return {name: np.array(times) for name, times in found.items()}


def _reference_ns(reference: Inference, clock: Clock) -> float:
    for _ in range(_SETTLING_CALLS):
        reference()
    return float(np.median([_timed(reference, clock) for _ in range(_REFERENCE_CALLS)]))


def _timed(infer: Inference, clock: Clock) -> float:
    before = clock.cpu()
    infer()
    return float(max(clock.cpu() - before, 1))


def one_by_one(inputs: Mapping[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
    """The inputs of a batch, each as a batch of one."""
    count = len(next(iter(inputs.values())))
    return [
        {name: np.ascontiguousarray(array[i : i + 1]) for name, array in inputs.items()} for i in range(count)
    ]


def summary(ratios: NDArray[np.float64], reference_ms: float) -> dict[str, float]:
    """Mean and percentiles of times over data in milliseconds: "mean_ms", "p50_ms", "p99_ms".

    Args:
        ratios: multiples of the reference's latency, (inputs,).
        reference_ms: that of the reference.
    """
    times = ratios * reference_ms
    p50, p99 = np.percentile(times, [50, 99])
    return {"mean_ms": float(times.mean()), "p50_ms": float(p50), "p99_ms": float(p99)}
