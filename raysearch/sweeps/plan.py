"""What a sweep is to measure: its parts, its ratios and the points that they make, checked."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from raysearch.allocation.fitting import FEWEST_RATIOS
from raysearch.basics.failures import UserError
from raysearch.described import multiple_of
from raysearch.objectives import Objective
from raysearch.runs.conditions import Conditions
from raysearch.runs.session import Work
from raysearch.searchers.base import Config
from raysearch.sweeps.left_out import measure_left_out
from raysearch.sweeps.parts import prunable_parts
from raysearch.sweeps.points import Points, points_of
from raysearch.sweeps.quality import quality_of
from raysearch.sweeps.table import write_sweep

RATIOS = tuple(i / 10 for i in range(10))


@dataclass(frozen=True)
class Sweep:
    """A sweep that can be made; make one with ``plan_sweep``.

    Attributes:
        parts: layers, or what holds them, each pruned by itself and all together.
        ratios: shares of a part's channels to remove, in [0, 1).
        multiple: kept channels are multiples of this; None: what the targets like.
        points: the networks to measure.
    """

    parts: list[str]
    ratios: list[float]
    multiple: int | None
    points: Points

    @property
    def conditions(self) -> Conditions:
        """What holds for every point."""
        return self.points.conditions

    @property
    def work(self) -> Work:
        """The sweep as what a run is to do: its points, and the parent without each part."""
        work = self.points.work
        # What is resolved now holds for the run: a profile may say something else later.
        multiple = multiple_of(work.described)
        own = {"parts": self.parts, "ratios": self.ratios, "multiple": multiple}
        return replace(
            work,
            described={**work.described, "sweep": own},
            after_references=partial(measure_left_out, parts=self.parts),
            write_pages=write_sweep,
        )


def plan_sweep(
    conditions: Conditions,
    parts: Sequence[str] | None = None,
    ratios: Sequence[float] | None = None,
    *,
    multiple: int | None = None,
    quality: Objective | None = None,
) -> Sweep:
    """Check a sweep. Parts of so few channels that they have no curve are warned of.

    Args:
        conditions: what holds for every point.
        parts: layers, or what holds them ("stage1"); None: each that channel pruning may prune.
        ratios: shares of a part's channels to remove, in [0, 1); None: ``RATIOS``.
        multiple: kept channels are multiples of this; None: what the targets like.
        quality: the task's first metric, and which way it is better; None: it is an accuracy.

    Raises:
        ValueError: a part that is unknown, lies inside another or has no channels of its own, a ratio
            outside [0, 1), or fewer different ratios than a curve needs.
    """
    ratios = [float(r) for r in check_ratios(RATIOS if ratios is None else ratios)]
    different = len({0.0, *ratios})
    if different < FEWEST_RATIOS:
        raise UserError(
            f"sweep.ratios is {ratios}, {different} different ratios with 0, which is always measured: "
            f"a curve needs {FEWEST_RATIOS}"
        )
    names = prunable_parts(conditions, parts)
    whole = dict.fromkeys(names, 0.0)
    alone = [{**whole, name: r} for name in names for r in ratios]
    together = [dict.fromkeys(names, r) for r in ratios]
    points = points_of(
        conditions, quality or quality_of(conditions.metrics), [whole, *alone, *together], multiple
    )
    _check_curves(points.configs, names, multiple or points.space.multiple)
    return Sweep(names, ratios, multiple, points)


def check_ratios(ratios: Sequence[float]) -> Sequence[float]:
    """The ratios themselves.

    Raises:
        ValueError: there is none, or one is outside [0, 1).
    """
    if not ratios or not all(0 <= r < 1 for r in ratios):
        raise UserError(f"sweep.ratios is {list(ratios)}: give one or more numbers in [0, 1)")
    return ratios


def _check_curves(configs: Sequence[Config], names: Sequence[str], multiple: int) -> None:
    """Refuse a sweep whose ratios keep the same channels so often that no part has a curve; warn of some.

    Raises:
        ValueError: none has.
    """
    pruned = [[n for n, r in c["pruning"]["ratios"].items() if r > 0] for c in configs]
    counts = {name: 1 + pruned.count([name]) for name in names}
    few = {name: count for name, count in counts.items() if count < FEWEST_RATIOS}
    if not few:
        return
    told = ", ".join(f"{name} has {count}" for name, count in few.items())
    text = (
        f"sweep.ratios: as kept channels are multiples of {multiple} (sweep.multiple), different ratios are "
        f"few, and a curve needs {FEWEST_RATIOS}: {told}"
    )
    if len(few) == len(counts):
        raise UserError(text)
    warnings.warn(text, stacklevel=3)
