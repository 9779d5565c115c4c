"""Where the floor cannot be kept within the caps: which limits conflict, and the smallest repairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from raysearch.allocation.exact.ends import most_accurate
from raysearch.allocation.problem import SLACK, Problem

_HALVINGS = 60
_CLOSE = 1e-7  # of a step, relative to it
_MOST_DOUBLINGS = 100


@dataclass(frozen=True)
class Relaxation:
    """One way to make a problem feasible.

    Attributes:
        way: "floor", "branch caps", "total cap", "latency cap", "caps" (all that are set) or "both" (floor
            and caps by the same share).
        floor: the floor afterwards.
        floor_drop: by how much it was lowered, in the unit of the accuracy.
        caps_factor: what the caps of this way were multiplied by; 1 where only the floor moved.
        problem: the relaxed problem, which is feasible.
        text: the change in a sentence.
    """

    way: str
    floor: float
    floor_drop: float
    caps_factor: float
    problem: Problem
    text: str

    def __str__(self) -> str:
        return self.text


def feasible(problem: Problem) -> bool:
    """Whether the floor can be kept within the caps."""
    enough = problem.floor - SLACK * abs(problem.floor)
    return most_accurate(problem, enough=enough).value >= enough


def relaxed(problem: Problem, way: str, step: float) -> Problem:
    """The problem with caps raised by a share ``step`` and, in the way "both", its floor lowered by it too.

    Args:
        problem: what to relax.
        way: as in ``Relaxation``; in the way "floor" ``step`` is in the unit of the accuracy.
        step: 0 changes nothing.
    """
    if way == "floor":
        return replace(problem, floor=problem.floor - step)
    factor = 1 + step
    if way == "both":
        problem = replace(problem, floor=problem.floor - step * abs(problem.floor))
    if way in ("branch caps", "caps", "both"):
        problem = problem.with_caps(problem.caps * factor)
    if way in ("total cap", "caps", "both"):
        problem = replace(problem, total_cap=problem.total_cap * factor)
    if way in ("latency cap", "caps", "both"):
        problem = replace(problem, latency_cap=problem.latency_cap * factor)
    return problem


def relaxations(problem: Problem, best: float) -> tuple[Relaxation, ...]:
    """Every way that works alone, with the smallest step that does.

    Args:
        problem: an infeasible problem.
        best: the largest weighted accuracy within its caps.
    """
    set_caps = _set_caps(problem)
    ways = [*set_caps, *(["caps"] if len(set_caps) > 1 else []), "both"]
    found = [_described(problem, "floor", problem.floor - best)]
    for way in ways:
        step = _smallest_step(problem, way)
        if step is not None:
            found.append(_described(problem, way, step))
    return tuple(found)


def conflict(problem: Problem) -> tuple[str, ...]:
    """Limits of an infeasible problem that cannot all be kept, while without any of these caps they can.

    Of the branches' caps those that cost little accuracy are left out first. (With a total cap or a cap on
    summed times beside them, one of the named branches may turn out to be dispensable.)
    """
    kept = dict.fromkeys(_set_caps(problem))
    for way in tuple(kept):
        if len(kept) > 1 and not feasible(_without(problem, tuple(k for k in kept if k != way))):
            del kept[way]
    limits = [f"floor {problem.floor:g}"]
    if "total cap" in kept:
        limits.append(f"total cap {problem.total_cap:g} MB")
    if "latency cap" in kept:
        limits.append(f"latency cap {problem.latency_cap:g} ms")
    if "branch caps" in kept:
        blamed = _blamed(problem, tuple(kept))
        limits += [f"cap {b.cap:g} MB of branch {b.name!r}" for b in problem.branches if b.name in blamed]
    return tuple(limits)


def _set_caps(problem: Problem) -> list[str]:
    """The kinds of caps that are set."""
    given = {
        "branch caps": bool(np.isfinite(problem.caps).any()),
        "total cap": math.isfinite(problem.total_cap),
        "latency cap": math.isfinite(problem.latency_cap),
    }
    return [name for name, is_set in given.items() if is_set]


def _without(problem: Problem, kept: tuple[str, ...]) -> Problem:
    """The problem with only these kinds of caps."""
    caps = problem.caps if "branch caps" in kept else np.full(len(problem.caps), math.inf)
    return replace(
        problem.with_caps(caps),
        total_cap=problem.total_cap if "total cap" in kept else math.inf,
        latency_cap=problem.latency_cap if "latency cap" in kept else math.inf,
    )


def _blamed(problem: Problem, kept: tuple[str, ...]) -> list[str]:
    """The branches whose caps conflict with the floor and the other caps that were kept."""
    reduced = _without(problem, kept)
    lost = reduced.gain(reduced.unpruned) - reduced.gain(_without(reduced, ("branch caps",)).low)
    order = np.argsort(lost, kind="stable")

    def is_feasible(dropped: int) -> bool:
        caps = problem.caps.copy()
        caps[order[:dropped]] = math.inf
        return feasible(reduced.with_caps(caps))

    low, high = 0, len(order)  # dropped caps with which it is infeasible, and feasible
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_feasible(middle) else (middle, high)
    return [problem.names[i] for i in sorted(order[low:])]


def _smallest_step(problem: Problem, way: str) -> float | None:
    """The smallest step that makes the problem feasible; None where the largest does not."""
    low, high = 0.0, 1e-3
    for _ in range(_MOST_DOUBLINGS):
        if feasible(relaxed(problem, way, high)):
            break
        if not _binds(relaxed(problem, way, high), way):
            return None
        low, high = high, 2 * high
    else:  # a cap of 0 stays one, whatever it is multiplied by
        return None
    for _ in range(_HALVINGS):
        if high - low <= _CLOSE * high:
            break
        middle = (low + high) / 2
        low, high = (low, middle) if feasible(relaxed(problem, way, middle)) else (middle, high)
    return high


def _binds(problem: Problem, way: str) -> bool:
    """Whether any of the caps of a way still asks for pruning."""
    sizes = problem.sizes(problem.unpruned)
    binding = {
        "branch caps": bool((sizes > problem.caps).any()),
        "total cap": float(sizes.sum()) > problem.total_cap,
        "latency cap": problem.timed and float(problem.total_time(problem.unpruned)) > problem.latency_cap,
    }
    return any(binds for name, binds in binding.items() if way in (name, "caps", "both"))


def _described(problem: Problem, way: str, step: float) -> Relaxation:
    """A way with its smallest step, in words."""
    repaired = relaxed(problem, way, step)
    factor = 1.0 if way == "floor" else 1 + step
    drop = problem.floor - repaired.floor
    words = []
    if drop > 0:
        words.append(f"lower the floor by {drop:.4g} from {problem.floor:.6g} to {repaired.floor:.6g}")
    if factor > 1:
        caps = {"floor": "", "both": "every cap", "caps": "every cap", "branch caps": "every branch's cap"}
        words.append(
            f"raise {caps.get(way, f'the {way}')} by {100 * step:.4g} %{_amounts(problem, way, step)}"
        )
    return Relaxation(way, repaired.floor, drop, factor, repaired, " and ".join(words))


def _amounts(problem: Problem, way: str, step: float) -> str:
    """By how many MB and ms that raises the caps."""
    caps = problem.caps[np.isfinite(problem.caps)]
    parts = []
    if len(caps) and way in ("branch caps", "caps", "both"):
        least, most = (f"{step * cap:.4g}" for cap in (caps.min(), caps.max()))
        parts.append(f"each branch's by {least}{'' if least == most else f' to {most}'} MB")
    if math.isfinite(problem.total_cap) and way in ("total cap", "caps", "both"):
        parts.append(f"the total by {step * problem.total_cap:.4g} MB")
    if math.isfinite(problem.latency_cap) and way in ("latency cap", "caps", "both"):
        parts.append(f"the latency by {step * problem.latency_cap:.4g} ms")
    return f" ({', '.join(parts)})" if parts else ""
