"""How latency is measured: alternating blocks of candidate and reference, paired, on the thread's CPU clock.

Noise on a shared machine only ever adds time, and comes in phases (a busy sibling core: x1.0 or x1.6), so
absolute times wander by tens of per cent. The ratio of two blocks run one after the other is disturbed only
when a phase changes between them, and the median over pairs spread over several rounds is not moved by that.
Thread CPU time leaves preemption out.

Nothing here knows a runtime, and every clock is handed in: the rule is tested against a simulated machine.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Inference = Callable[[], object]

# The 95 % interval of a median needs six samples: below, even smallest to largest covers less.
_FEWEST = 6


@dataclass(frozen=True)
class Protocol:
    """The settings of a measurement; figures taken under different settings are never mixed.

    Attributes:
        settle_ms: before a block is timed its model runs for this long, untimed: latency is defined back to
            back, and what the other model leaves behind (caches, the core's clock) takes milliseconds to
            fade. (Eager torch, true ratio 1.50: 1.34 with none, 1.45 with 4 ms, 1.49 with 8 ms.)
        block_ms: a block repeats its model for at least this long.
        round_samples: pairs of blocks in a round.
        min_rounds: rounds before the measurement may stop.
        max_rounds: rounds after which it stops, however noisy.
        pause_s: rest between rounds: slow phases last for tenths of seconds, and rounds should see different
            ones.
        tolerance: stop when the relative half-width of the ratio's 95 % interval is below this.
        warm_calls, warm_s: each model is warmed up for at least so many calls and seconds.
        max_s: stop after this many seconds of wall-clock time (but not before six pairs).
    """

    settle_ms: float = 4.0
    block_ms: float = 2.0
    round_samples: int = 20
    min_rounds: int = 3
    max_rounds: int = 15
    pause_s: float = 0.1
    tolerance: float = 0.02
    warm_calls: int = 3
    warm_s: float = 0.1
    max_s: float = 5.0

    def to_dict(self) -> dict[str, float]:
        """Plain JSON types, for cache keys and reports."""
        return asdict(self)


@dataclass(frozen=True)
class Clock:
    """The clocks of a measurement, in nanoseconds, and the way to rest.

    ``cpu`` is the one that the model's time is read from: the calling thread's, since the process also holds
    Ray's threads, whose work is not the model's; or, of work that runs elsewhere, the wall's or the device's.
    ``each``: a call has done its work when it returns, so that each inference has a time of its own.
    """

    wall: Callable[[], int] = time.perf_counter_ns
    cpu: Callable[[], int] = time.thread_time_ns
    each: bool = True
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Figures:
    """What a measurement found.

    Attributes:
        ratio: median over pairs of the candidate's CPU time by the reference's.
        noise: relative half-width of its 95 % interval.
        converged: ``noise`` is within the tolerance.
        warm: the candidate was no slower in the first quarter of the blocks than in all, by more than the
            tolerance and the noise.
        cpu_ms: time of one inference of the candidate in each block, shape (samples,).
        wall_ms: wall-clock time of each inference of the candidate, shape (inferences,); of a block's mean
            inference, shape (samples,), where the clock cannot tell them apart.
        reference_ms: CPU time of one inference of the reference in each block, shape (samples,).
        contention: 1 - CPU time / wall-clock time over the candidate's and the reference's blocks.
        seconds: duration of the whole, warm-up included.
    """

    ratio: float
    noise: float
    converged: bool
    warm: bool
    cpu_ms: Floats
    wall_ms: Floats
    reference_ms: Floats
    contention: float
    seconds: float


def measure(
    candidate: Inference, reference: Inference, protocol: Protocol, clock: Clock | None = None
) -> Figures:
    """Measure a candidate against a reference.

    Args:
        candidate: one inference a call.
        reference: one inference of the reference a call. To learn a model's own noise, give the same one
            twice.
        protocol: the settings.
        clock: the clocks; those of the calling thread if left out.
    """
    clock = clock or Clock()
    start = clock.wall()
    first, second = _warm_up(candidate, protocol, clock), _warm_up(reference, protocol, clock)
    deadline = start + protocol.max_s * 1e9
    pairs: list[tuple[_Block, _Block]] = []
    for round_number in range(1, protocol.max_rounds + 1):
        for _ in range(protocol.round_samples):
            pairs.append(_pair(first, second, swap=len(pairs) % 2 == 1, clock=clock))
            if late := clock.wall() > deadline and len(pairs) >= _FEWEST:
                break
        _, noise = median_interval(np.array([c.cpu_ms / r.cpu_ms for c, r in pairs]))
        enough = round_number >= protocol.min_rounds and noise <= protocol.tolerance
        if late or enough or round_number == protocol.max_rounds:
            break
        clock.sleep(protocol.pause_s)
    return _figures(pairs, protocol, (clock.wall() - start) / 1e9)


def median_interval(values: Floats) -> tuple[float, float]:
    """The median of values (n,) and the relative half-width of its 95 % interval (from order statistics).

    With fewer than six values the interval is that from the smallest to the largest.
    """
    ordered, n = np.sort(values), len(values)
    reach = 1.96 * math.sqrt(n) / 2
    low, high = max(0, math.floor((n - 1) / 2 - reach)), min(n - 1, math.ceil((n - 1) / 2 + reach))
    median = float(np.median(ordered))
    return median, float(ordered[high] - ordered[low]) / 2 / median


@contextmanager
def undisturbed(threads: int = 1) -> Iterator[None]:
    """Keep the calling thread on one core meanwhile, ahead of all others there, where the system allows it.

    Work of several threads is left where it is: pinned, they would share that core. The last core that the
    thread may use: the first one serves most interrupts. Real-time priority needs a
    right (CAP_SYS_NICE) that not every user has. Where it is granted the thread is not preempted (contention
    0 against .15 to .84 on two cores at loads of 4 to 8) and a measurement takes 1 to 2 s instead of up to 5.
    It does not keep shared caches free: ratios mostly repeated with a standard deviation below 1 %, but 4 %
    was seen too. The rests between rounds leave the core to the others.
    """
    if threads > 1 or not hasattr(os, "sched_setaffinity"):  # Linux only
        yield
        return
    allowed, policy, priority = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setaffinity(0, {max(allowed)})
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)
        os.sched_setaffinity(0, allowed)


@dataclass(frozen=True)
class _Side:
    """A model with the number of calls to settle and to time."""

    infer: Inference
    settle: int
    calls: int


@dataclass(frozen=True)
class _Block:
    """Time of one inference, averaged over a block."""

    cpu_ms: float
    wall_ms: float
    calls: int
    each_ms: list[float]


def _warm_up(infer: Inference, protocol: Protocol, clock: Clock) -> _Side:
    """Infer until warm, and learn how many calls fill a block."""
    start, fastest, calls = clock.wall(), math.inf, 0
    while calls < protocol.warm_calls or clock.wall() - start < protocol.warm_s * 1e9:
        before = clock.cpu()
        infer()
        fastest = min(fastest, (clock.cpu() - before) / 1e6)
        calls += 1
    fastest = max(
        fastest, 1e-3
    )  # a coarse clock may read zero; a microsecond is less than any inference takes
    return _Side(infer, math.ceil(protocol.settle_ms / fastest), math.ceil(protocol.block_ms / fastest))


def _pair(candidate: _Side, reference: _Side, swap: bool, clock: Clock) -> tuple[_Block, _Block]:
    """A block of each; who goes first alternates from pair to pair, so that a steady drift cancels."""
    if swap:
        second = _block(reference, clock)
        return _block(candidate, clock), second
    return _block(candidate, clock), _block(reference, clock)


def _block(side: _Side, clock: Clock) -> _Block:
    for _ in range(side.settle):
        side.infer()
    wall, cpu = clock.wall(), clock.cpu()
    laps = [wall]
    for _ in range(side.calls):
        side.infer()
        laps.append(clock.wall())
    cpu, wall = clock.cpu() - cpu, clock.wall() - wall
    mean = wall / side.calls / 1e6
    each = list(np.diff(laps) / 1e6) if clock.each else [mean]
    return _Block(max(cpu, 1) / side.calls / 1e6, mean, side.calls, each)


def _figures(pairs: list[tuple[_Block, _Block]], protocol: Protocol, seconds: float) -> Figures:
    cpu = np.array([c.cpu_ms for c, _ in pairs])
    reference = np.array([r.cpu_ms for _, r in pairs])
    ratio, noise = median_interval(cpu / reference)
    blocks = [block for pair in pairs for block in pair]
    ran = sum(b.cpu_ms * b.calls for b in blocks)
    passed = sum(b.wall_ms * b.calls for b in blocks)
    first = max(1, len(pairs) // 4)
    early = float(np.median((cpu / reference)[:first])) / ratio - 1
    return Figures(
        ratio=ratio,
        noise=noise,
        converged=noise <= protocol.tolerance,
        warm=early <= protocol.tolerance + noise,
        cpu_ms=cpu,
        wall_ms=np.array([ms for c, _ in pairs for ms in c.each_ms]),
        reference_ms=reference,
        contention=max(0.0, 1.0 - ran / passed) if passed else 0.0,
        seconds=seconds,
    )
