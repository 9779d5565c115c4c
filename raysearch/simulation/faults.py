"""What goes wrong in a simulated cluster: crashes, stragglers, late reports; the same for every algorithm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raysearch.basics.failures import UserError


@dataclass(frozen=True)
class Mishap:
    """What happens to one attempt at a step: lost or not, how much longer it takes, how late it reports."""

    crashed: bool = False
    slowdown: float = 1.0
    delay: float = 0.0


@dataclass(frozen=True)
class Faults:
    """Faults at random, drawn from the seed, the trial, the step and the attempt alone.

    Two algorithms that are compared under the same faults therefore meet the same ones in the same trials.

    Args:
        crash_rate: share of steps that are lost at their end, from 0 to 1; what they cost is spent. The trial
            goes on from its last checkpoint.
        max_crashes: a trial that crashes more often than this ends as failed, >= 0.
        checkpoint_every: steps from one checkpoint to the next, >= 1. With more than 1, a trial that crashes
            repeats the steps since the last checkpoint and reports them again. A pause is a checkpoint too.
        straggler_rate: share of steps that straggle, from 0 to 1.
        straggler_factor: how many times longer such a step takes on average, >= 1; what is above 1 is drawn
            from an exponential distribution. It costs time and no more: ``cost`` is work.
        late_rate: share of reports that are late, from 0 to 1. The trial meanwhile goes on with its next
            step; the decision takes effect when the report arrives, and what was begun since is thrown away
            where it is STOP or PAUSE. Reports of one trial arrive in order.
        delay: how late such a report is, in simulated time, >= 0.
        seed: of the draws, >= 0.

    Raises:
        ValueError: a field is out of its range.
    """

    crash_rate: float = 0.0
    max_crashes: int = 3
    checkpoint_every: int = 1
    straggler_rate: float = 0.0
    straggler_factor: float = 4.0
    late_rate: float = 0.0
    delay: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("crash_rate", "straggler_rate", "late_rate"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise UserError(f"{name} is {share}: it is a share, give a number from 0 to 1")
        lows = {"max_crashes": 0, "checkpoint_every": 1, "straggler_factor": 1, "delay": 0, "seed": 0}
        for name, low in lows.items():
            if not low <= (value := getattr(self, name)) < math.inf:
                raise UserError(f"{name} is {value}: give a finite number, at least {low}")

    def of(self, trial: int, step: int, attempt: int) -> Mishap:
        """What happens to the ``attempt``-th attempt (from 0) of a trial, by its number, at a step."""
        rng = np.random.default_rng((self.seed, trial, step, attempt))
        crash, straggle, late = rng.random(3)
        slowdown = 1.0
        if straggle < self.straggler_rate:
            slowdown += (self.straggler_factor - 1) * float(rng.exponential())
        return Mishap(bool(crash < self.crash_rate), slowdown, self.delay if late < self.late_rate else 0.0)
