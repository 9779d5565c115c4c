"""Requests over a trace, served by simulated workers: the router's own queue and rules, without its clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.serving.latencies import Latencies
from raysearch.serving.policy import Rule
from raysearch.serving.station import Station

#: What a batch really takes in ms: of a variant, of a size, as the n-th that is served.
ServiceTime = Callable[[int, int, int], float]


@dataclass(frozen=True)
class Failure:
    """A worker that dies: what it serves is lost, and it is back later.

    Attributes:
        worker: its index.
        at_ms: when.
        down_ms: for how long.
    """

    worker: int
    at_ms: float
    down_ms: float


@dataclass(frozen=True)
class Outcome:
    """What became of the requests of a trace.

    Attributes:
        in_time: (n,) whether each was answered before its deadline.
        used: (n,) by which variant; -1 where it was refused, given up or lost.
        taken_ms: (n,) from its arrival to its answer; NaN without one.
        accuracies: of the variants.
        lost: how many a worker held when it died.
        switches: how often a variant followed another on a worker.
    """

    in_time: NDArray[np.bool_]
    used: NDArray[np.int64]
    taken_ms: NDArray[np.float64]
    accuracies: tuple[float, ...]
    lost: int
    switches: int

    @property
    def attained(self) -> float:
        """The share of all requests that were answered in time."""
        return float(self.in_time.mean())

    @property
    def accuracy(self) -> float:
        """The mean accuracy of the variants over what was answered in time; NaN where nothing was."""
        return float(self._gains[self.in_time].mean()) if self.in_time.any() else float("nan")

    @property
    def effective(self) -> float:
        """Accuracy times attained share: what is late, refused or lost counts as wrong."""
        return float(np.where(self.in_time, self._gains, 0.0).mean())

    @property
    def _gains(self) -> NDArray[np.float64]:
        gains: NDArray[np.float64] = np.array([*self.accuracies, 0.0])[self.used]
        return gains


def simulate(
    arrivals: NDArray[np.float64],
    slo_ms: float,
    rule: Rule,
    costs: Latencies,
    accuracies: Sequence[float],
    *,
    service: ServiceTime | None = None,
    workers: int = 1,
    failures: Sequence[Failure] = (),
) -> Outcome:
    """Serve a trace.

    Args:
        arrivals: (n,) in ms, rising.
        slo_ms: each request's deadline after its arrival.
        rule: in front of the queue, fresh.
        costs: what the rule knows of the variants' times, fresh; it is corrected as it would be.
        accuracies: of the variants, rising.
        service: what batches really take; None: what ``costs`` expects at first.
        workers: how many serve at once.
        failures: of workers.
    """
    run = _Run(arrivals, slo_ms, Station(rule, costs, workers), service or _as_expected(costs), failures)
    run.serve()
    return Outcome(run.in_time, run.used, run.taken, tuple(accuracies), run.lost, run.switches)


def drawn(
    times: Sequence[float], seed: int, *, sigma: float = 0.3, slow: float = 3.0, share: float = 0.02
) -> ServiceTime:
    """Service times that vary: log-normal around ``times``, a share of them much slower.

    Args:
        times: by variant, the median of one inference; a batch takes as many.
        seed: of what is drawn.
        sigma: of the logarithm.
        slow: how many times as long the slow ones take.
        share: of the slow ones.
    """
    rng = np.random.default_rng(seed)
    factors = np.exp(sigma * rng.standard_normal(1 << 16)) * np.where(rng.random(1 << 16) < share, slow, 1.0)

    def service(variant: int, size: int, number: int) -> float:
        return float(times[variant] * size * factors[number % len(factors)])

    return service


def _as_expected(costs: Latencies) -> ServiceTime:
    known = {(v, b): t for b, row in zip(costs.sizes, costs.times, strict=True) for v, t in enumerate(row)}
    return lambda variant, size, number: known[variant, size]


@dataclass(frozen=True)
class _Served:
    worker: int
    variant: int
    ms: float
    requests: list[int]


class _Run:
    """Events in order of time; at one time workers become free before requests arrive."""

    def __init__(
        self,
        arrivals: NDArray[np.float64],
        slo_ms: float,
        station: Station[int],
        service: ServiceTime,
        failures: Sequence[Failure],
    ) -> None:
        count = len(arrivals)
        self.in_time = np.zeros(count, dtype=bool)
        self.used = np.full(count, -1, dtype=np.int64)
        self.taken = np.full(count, np.nan)
        self.lost = self.switches = 0
        self._arrivals, self._slo, self._station, self._service = arrivals, slo_ms, station, service
        self._free = list(range(station.workers))
        self._last: dict[int, int] = {}
        self._held: dict[int, list[int]] = {}  # by worker
        self._number = 0
        self._events: list[tuple[float, int, int, Any]] = []  # time, kind, number, what
        for failure in failures:
            self._at(failure.at_ms, _DIES, failure)

    def serve(self) -> None:
        """Until all that arrived has gone its way."""
        following = 0
        while following < len(self._arrivals) or self._events:
            due = self._events[0][0] if self._events else np.inf
            if following < len(self._arrivals) and self._arrivals[following] < due:
                now = float(self._arrivals[following])
                self._station.arrive(now, following, now + self._slo)
                following += 1
            else:
                now, kind, _, what = heapq.heappop(self._events)
                _HANDLERS[kind](self, now, what)
            self._start(now)

    def _at(self, time: float, kind: int, what: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, kind, self._number, what))

    def _start(self, now: float) -> None:
        while self._free and len(self._station):
            worker = self._free[-1]
            taken = self._station.take(now, worker)
            if taken.choice is None:
                break
            self._free.pop()
            variant, size = taken.choice.variant, taken.choice.batch
            self.switches += self._last.get(worker, variant) != variant
            self._last[worker] = variant
            ms = self._service(variant, size, self._number)
            self._at(now + ms, _ENDS, _Served(worker, variant, ms, taken.requests))
            self._held[worker] = taken.requests

    def _ends(self, now: float, served: _Served) -> None:
        if self._held.get(served.worker) is not served.requests:
            return  # it died meanwhile
        del self._held[served.worker]
        self._station.done(served.worker)
        self._station.costs.observe(served.variant, len(served.requests), served.ms)
        self._free.append(served.worker)
        self.used[served.requests] = served.variant
        self.taken[served.requests] = now - self._arrivals[served.requests]
        self.in_time[served.requests] = self.taken[served.requests] <= self._slo + _EQUAL

    def _dies(self, now: float, failure: Failure) -> None:
        self.lost += len(self._held.pop(failure.worker, []))
        if failure.worker in self._free:
            self._free.remove(failure.worker)
        self._station.busy(failure.worker, now + failure.down_ms)
        self._at(now + failure.down_ms, _BACK, failure.worker)

    def _back(self, now: float, worker: int) -> None:
        self._station.done(worker)
        if worker not in self._free:
            self._free.append(worker)


_ENDS, _DIES, _BACK = range(3)
_HANDLERS: dict[int, Callable[[_Run, float, Any], None]] = {
    _ENDS: _Run._ends,
    _DIES: _Run._dies,
    _BACK: _Run._back,
}
_EQUAL = 1e-6
