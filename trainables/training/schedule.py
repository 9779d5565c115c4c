"""How a network's epochs are divided, how fast it learns in each, and when it is done.

A trial has a float part and a quantised part, each with a learning rate that rises and falls by the trial's
schedule. A network that others are compared with is trained in cycles of a trial's length, each with such a
fall, until a cycle brings little: what is compressed must not look good merely because it was trained for
longer.

References:
    Loshchilov, I., & Hutter, F. (2017). SGDR: stochastic gradient descent with warm restarts.
    Smith, L. N., & Topin, N. (2019). Super-convergence: very fast training of neural networks using large
        learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

CYCLES = 4
_LITTLE = 0.05  # of the best figure of the cycles before
_LOWEST = 0.05  # of the peak: the least that a warm-up starts from
_ONE_CYCLE_FIRST, _ONE_CYCLE_LAST = 1 / 25, 1 / 25e4  # torch's OneCycleLR has the same


@dataclass(frozen=True)
class Schedule:
    """The parts of a training.

    Args:
        ends: the last epoch of each part, ascending from 0; a part may be empty.
        metric: what says whether the network is done; None: it is after the last epoch alone.
        higher_is_better: of this metric.
        form: of the learning rate in each part, one of ``training.SCHEDULES``.
        warmup: the share in [0, 1) of each part in which it rises.
    """

    ends: tuple[int, ...]
    metric: str | None = None
    higher_is_better: bool = True
    form: str = "cosine"
    warmup: float = 0.05

    def rate(self, epoch: int, share: float) -> float:
        """The factor on the learning rate after a share in [0, 1] of an epoch >= 1: 1 is the highest."""
        first = max((end for end in self.ends if end < epoch), default=0)
        last = min(end for end in self.ends if end >= epoch)
        return _FORMS[self.form]((epoch - 1 - first + share) / (last - first), warmup=self.warmup)

    def is_done(self, curve: Mapping[int, Mapping[str, float]]) -> bool:
        """Whether nothing is left to train.

        Args:
            curve: the values at each step so far.
        """
        epoch = max(curve)
        if epoch >= self.ends[-1]:
            return True
        if self.metric is None or epoch not in self.ends:
            return False
        *before, now = self._cycles(curve)
        best = max(filter(math.isfinite, before), default=-math.inf)
        return math.isfinite(best) and not now - best > _LITTLE * abs(best)

    def is_best(self, curve: Mapping[int, Mapping[str, float]]) -> bool:
        """Whether a cycle ends here with a finite value, and none before ended with a better one."""
        if self.metric is None or max(curve) not in self.ends:
            return False
        *before, now = self._cycles(curve)
        return math.isfinite(now) and not any(now < value for value in before)

    def _cycles(self, curve: Mapping[int, Mapping[str, float]]) -> list[float]:
        """The value at the end of each cycle so far; higher is better."""
        sign = 1 if self.higher_is_better else -1
        return [sign * curve[end].get(str(self.metric), math.nan) for end in self.ends if end in curve]


def cycles(epochs: int) -> tuple[int, ...]:
    """The ends of the cycles of a network whose trials have so many epochs."""
    return tuple(epochs * (i + 1) for i in range(CYCLES))


def cosine(progress: float, *, warmup: float = 0.05) -> float:
    """The factor on the learning rate at a share in [0, 1] of a part: linear warm-up, then cosine."""
    if progress < warmup:
        return max(progress / warmup, _LOWEST)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def constant(progress: float, *, warmup: float = 0.05) -> float:
    """The same with a rate that stays after its linear warm-up."""
    return max(progress / warmup, _LOWEST) if progress < warmup else 1.0


def one_cycle(progress: float, *, warmup: float = 0.05) -> float:
    """The same with a rise and a fall that are cosines, from 1/25 up to 1 and down to 1/250,000."""
    if progress < warmup:
        return _ONE_CYCLE_FIRST + (1 - _ONE_CYCLE_FIRST) * (1 - cosine(progress / warmup, warmup=0))
    return _ONE_CYCLE_LAST + (1 - _ONE_CYCLE_LAST) * cosine(progress, warmup=warmup)


_FORMS = {"cosine": cosine, "onecycle": one_cycle, "constant": constant}
