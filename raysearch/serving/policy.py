"""Which variant the requests that wait get: rules that are asked anew each time a worker is free. Pure.

Beside them ``oracle``: what a rule could have attained that had known all arrivals.

All times are in ms, of any one clock. What waits is given by its deadlines, the earliest first; the head is
what is served next.

References:
    Khare, A., Garg, D., Kalra, S., Grandhi, S., Stoica, I., & Tumanov, A. (2025). SuperServe: fine-grained
        inference serving for unpredictable workloads. NSDI. (SlackFit)
    Romero, F., Li, Q., Yadwadkar, N. J., & Kozyrakis, C. (2021). INFaaS: automated model-less inference
        serving. USENIX ATC. (a variant by the rate of arrivals)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.serving.latencies import Latencies

RESERVE = 0.3


@dataclass(frozen=True)
class Choice:
    """What a free worker does: the index of a variant, and how many of those that wait it takes at once."""

    variant: int
    batch: int = 1


class Rule(Protocol):
    """Chooses a variant; it may keep what it has seen of arrivals, and nothing else."""

    def choose(self, now: float, deadlines: Sequence[float], costs: Latencies, workers: int = 1) -> Choice:
        """The variant for the head.

        Args:
            now: the time.
            deadlines: of all that wait (one at least), the earliest first; none has passed.
            costs: variants in the order of accuracy, the least accurate first.
            workers: that serve this queue.

        Returns:
            A variant, and a batch of one of the sizes of ``costs`` that is not larger than what waits.
        """
        ...


class Plan:
    """The most accurate variant with which everything that waits would still be in time.

    Of n that wait, the k-th ends after ceil(k / (workers * batch)) batches. A variant may be taken if

    - at its expected time, every one ends before its deadline with a reserve to spare, and
    - if it takes its slow time for the head, the others are still in time with the fastest.

    If none may, it is the fastest, in the batch of the least time an example with which the head is in time.
    The reserve is against service times that vary: the whole of it is kept where a slow inference takes twice
    the expected time or more, nothing where times are exact.

    Args:
        slo_ms: how long after its arrival a request is to be answered.
        reserve: as a share of ``slo_ms``; in [0, 1).
    """

    def __init__(self, slo_ms: float, reserve: float = RESERVE) -> None:
        self.slo_ms, self.reserve = slo_ms, reserve

    def choose(self, now: float, deadlines: Sequence[float], costs: Latencies, workers: int = 1) -> Choice:
        """See ``Rule``."""
        waiting, alone = len(deadlines), costs.times[0]
        least = min(alone)
        fastest = alone.index(least)
        best, batch = fastest, 1
        ends = np.asarray(deadlines, np.float64)
        planned = ends - (now + self.reserve * self.slo_ms * min(1.0, costs.uneven))
        for size, times in zip(costs.sizes, costs.times, strict=True):
            if size > waiting:
                break
            share = _least(planned / _rounds(workers * size)[:waiting])
            slow = deadlines[0] - now
            if waiting > size:
                others = ends[size:] - least * _rounds(workers)[: waiting - size]
                slow = min(slow, _least(others) - now)
            for variant in range(len(times) - 1, best, -1):
                time = times[variant]
                if time <= share and time * costs.spreads[variant] <= slow:
                    best, batch = variant, size
                    break
        if best == fastest:
            batch = _batch(fastest, deadlines[0] - now, waiting, costs)
        return Choice(best, batch)


class Static:
    """One variant for all.

    Args:
        variant: its index; None: the most accurate one that answers a request that waits for nothing in time.
        slo_ms: see ``Plan``.
    """

    def __init__(self, slo_ms: float, variant: int | None = None) -> None:
        self.slo_ms, self.variant = slo_ms, variant

    def choose(self, now: float, deadlines: Sequence[float], costs: Latencies, workers: int = 1) -> Choice:
        """See ``Rule``."""
        if self.variant is not None:
            return Choice(self.variant)
        return Choice(_largest(costs.times[0], self.slo_ms, costs))


class SlackFit:
    """SuperServe's rule: by the head's slack, which shrinks as a queue grows.

    The times of all pairs of a variant and a batch are divided into buckets of equal width. Of the pairs that
    fit the slack those in the slowest bucket are looked at, and of these that of the largest batch, then of
    the most accurate variant, is taken.

    Args:
        slo_ms: see ``Plan``.
        buckets: how many.
    """

    def __init__(self, slo_ms: float, buckets: int = 8) -> None:
        self.slo_ms, self.buckets = slo_ms, buckets

    def choose(self, now: float, deadlines: Sequence[float], costs: Latencies, workers: int = 1) -> Choice:
        """See ``Rule``."""
        sizes = [size for size in costs.sizes if size <= len(deadlines)]
        times, slack = np.array(costs.times[: len(sizes)]), deadlines[0] - now
        width = (min(times.max(), self.slo_ms) - times.min()) / self.buckets or 1.0
        bucket = np.minimum((times - times.min()) // width, self.buckets)
        fits = times <= slack
        if not fits.any():
            return Choice(int(np.argmin(times[0])))
        rows, variants = np.nonzero(fits & (bucket == bucket[fits].max()))
        row, variant = max(zip(rows.tolist(), variants.tolist(), strict=True))
        return Choice(variant, sizes[row])


class ArrivalRate:
    """A variant for a while, by the rate of arrivals: what waits, and how urgent it is, is not asked.

    Args:
        slo_ms: see ``Plan``.
        window_ms: over which the rate is taken, and for which a variant is kept.
        load: the share of the workers' time that the variant may take at that rate.
    """

    def __init__(self, slo_ms: float, window_ms: float = 100.0, load: float = 0.7) -> None:
        self.slo_ms, self.window_ms, self.load = slo_ms, window_ms, load
        self._arrivals: deque[float] = deque()
        self._newest = -np.inf
        self._until, self._variant = -np.inf, 0

    def choose(self, now: float, deadlines: Sequence[float], costs: Latencies, workers: int = 1) -> Choice:
        """See ``Rule``."""
        fresh = [d - self.slo_ms for d in deadlines if d - self.slo_ms > self._newest]
        self._arrivals.extend(fresh)
        self._newest = max([self._newest, *fresh])
        while self._arrivals and self._arrivals[0] < now - self.window_ms:
            self._arrivals.popleft()
        if now >= self._until:
            rate = len(self._arrivals) / self.window_ms / workers
            self._variant = _largest(costs.times[0], self.load / rate if rate else self.slo_ms, costs)
            self._until = now + self.window_ms
        return Choice(self._variant)


_RULES: Mapping[str, Callable[..., Rule]] = {
    "plan": Plan,
    "static": Static,
    "slackfit": SlackFit,
    "rate": ArrivalRate,
}


def make_rule(name: str, slo_ms: float, **options: Any) -> Rule:
    """A rule by its name: "plan", "static", "slackfit" or "rate".

    Args:
        name: of the rule.
        slo_ms: the deadline, after a request's arrival.
        options: of the rule, such as ``reserve`` of "plan".

    Raises:
        UserError: no rule has that name.
    """
    if name not in _RULES:
        raise UserError(f"rule {name!r} is unknown: {did_you_mean(name, list(_RULES))}")
    return _RULES[name](slo_ms, **options)


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


def _batch(variant: int, room: float, waiting: int, costs: Latencies) -> int:
    """The size of the least time an example among those with which the head is in time; else 1."""
    return min(
        (s for s, row in zip(costs.sizes, costs.times, strict=True) if s <= waiting and row[variant] <= room),
        key=lambda size: costs.times[costs.sizes.index(size)][variant] / size,
        default=1,
    )


def _largest(times: Sequence[float], limit: float, costs: Latencies) -> int:
    """The most accurate variant whose time is within a limit; the fastest if none is."""
    fits = [v for v, time in enumerate(times) if time <= limit]
    return fits[-1] if fits else int(np.argmin(costs.times[0]))


@cache
def _rounds(at_once: int) -> NDArray[np.float64]:
    """In which round each of those that wait is served, from 1 on."""
    return np.arange(_MOST, dtype=np.float64) // at_once + 1


def _least(values: NDArray[np.float64]) -> float:
    return values.item(values.argmin())  # a third of what numpy's own minimum of a hundred takes


_MOST = 4096  # no queue is longer: what would be is refused long before
