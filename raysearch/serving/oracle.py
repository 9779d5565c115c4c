"""What a rule could have attained that had known all arrivals: an exact programme over one worker. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def oracle(
    arrivals: NDArray[np.float64],
    slo_ms: float,
    times: Sequence[float],
    accuracies: Sequence[float],
    grid_ms: float = 0.02,
) -> float:
    """The largest accuracy summed over requests answered in time, over the number of all requests.

    Requests are served one after another, first come first served (with equal deadlines no other order is
    better), or given up. Backwards over the requests, the value of what is left is worked out for each time
    at which the worker may become free.

    Args:
        arrivals: (n,) in ms, rising.
        slo_ms: each request's deadline after its arrival.
        times: by variant, exact.
        accuracies: by variant, >= 0.
        grid_ms: to which times are rounded; the memory and work of a request are ``slo_ms / grid_ms``.

    Returns:
        In [0, max(accuracies)]; 0 without requests.
    """
    if not len(arrivals):
        return 0.0
    slo = round(slo_ms / grid_ms)
    lengths = [max(1, round(time / grid_ms)) for time in times]
    starts = np.floor(np.asarray(arrivals) / grid_ms).astype(np.int64)
    gaps = np.minimum(np.diff(starts, append=starts[-1] + slo + 1), slo + 1)
    value = np.zeros(slo + 2)  # by how long after a request's arrival the worker becomes free
    later = np.empty_like(value)
    for gap in gaps[::-1].tolist():
        later[:gap] = value[0]
        later[gap:] = value[: slo + 2 - gap]
        best = later.copy()
        for length, accuracy in zip(lengths, accuracies, strict=True):
            if length <= slo:
                ends = later[length : slo + 1]
                np.maximum(best[: len(ends)], ends + accuracy, out=best[: len(ends)])
        value = best
    return float(value[0]) / len(arrivals)
