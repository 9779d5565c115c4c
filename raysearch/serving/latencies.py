"""What an inference of each variant takes: measured before, corrected by what is seen while it serves."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from raysearch.basics.failures import UserError

#: The share of inferences that are within a variant's slow time.
CALM = 0.995
_SLOWEST = 4.0  # expected times, that one inference counts for at most in a mean, or a neighbour's spread
_WEIGHT = 0.03  # of what was seen last in the expected time
_KEPT = 400  # ratios a variant
_ENOUGH = 50  # of them tell its slow time
_ROUND = 32  # inferences until the slow times are taken anew
_FORGOTTEN = 0.02  # of a correction, in a round without the variant
_DROPPED = 16  # ratios in such a round


class Latencies:
    """Expected and slow times of an inference, by variant and size of batch, in ms.

    A variant's expected times follow what is seen of it, all sizes together; those of one that is not used go
    back to what was measured, so that it is tried again after a stall has made it look slow. Its slow time is
    the ``CALM`` quantile of what is seen over what was expected; while less than fifty of its inferences are
    known, that of the variant nearest in speed that has as many, but at most four expected times (a stall is
    many times what a small variant takes); at first ``spread`` times the expected. What was seen of one
    that is not used is forgotten after some hundreds of others: so long a few slow inferences keep it out.

    Args:
        measured: by variant, the time of a batch by its size; all with the same sizes, 1 among them.
        spread: how many times its expected one a slow inference takes, before any is seen; >= 1.

    Attributes:
        sizes: of batches, rising from 1.
        times: by size (in the order of ``sizes``), then variant: what a batch is expected to take.
        spreads: by variant, its slow time over its expected one.
        uneven: the largest share by which a slow time is beyond the expected one.

    Raises:
        UserError: no variants, or a time that is not positive.
    """

    def __init__(self, measured: Sequence[Mapping[int, float]], spread: float = 1.4) -> None:
        if not measured or any(not 0 < t < np.inf for row in measured for t in row.values()):
            raise UserError(f"measured is {list(measured)!r}: give positive times in ms, a mapping a variant")
        self.sizes = tuple(sorted(measured[0]))
        self.times: list[list[float]] = [[row[size] for row in measured] for size in self.sizes]
        self._measured = np.array(self.times)
        self._correction = np.ones(len(measured))
        self._seen: list[deque[float]] = [deque(maxlen=_KEPT) for _ in measured]
        self._spread = spread
        self._fresh: list[int] = []
        self._take_spreads()

    def __len__(self) -> int:
        """The number of variants."""
        return len(self._seen)

    @property
    def fastest(self) -> float:
        """The least that one inference is expected to take."""
        return min(self.times[0])

    @property
    def first_fastest(self) -> tuple[int, float]:
        """The variant that was measured to be the fastest, and what an inference of it took then."""
        variant = int(self._measured[0].argmin())
        return variant, float(self._measured[0, variant])

    @property
    def pace(self) -> float:
        """The least time a request, in the batches that are best for that."""
        return min(min(row) / size for size, row in zip(self.sizes, self.times, strict=True))

    def observe(self, variant: int, size: int, ms: float) -> None:
        """Take in what a batch took.

        Args:
            variant: its index.
            size: one of ``sizes``.
            ms: its time.
        """
        ratio = ms / self.times[self.sizes.index(size)][variant]
        self._seen[variant].append(ratio)
        self._correct(variant, 1 + _WEIGHT * (min(ratio, _SLOWEST) - 1))
        self._fresh.append(variant)
        if len(self._fresh) == _ROUND:
            for other in set(range(len(self))).difference(self._fresh):
                correction = self._correction[other]
                self._correct(other, (correction + _FORGOTTEN * (1 - correction)) / correction)
                for _ in range(min(_DROPPED, len(self._seen[other]))):
                    self._seen[other].popleft()
            self._take_spreads()
            self._fresh.clear()

    def _correct(self, variant: int, factor: float) -> None:
        self._correction[variant] *= factor
        column = (self._measured[:, variant] * self._correction[variant]).tolist()
        for row, time in zip(self.times, column, strict=True):
            row[variant] = time

    def _take_spreads(self) -> None:
        own = {
            v: max(1.0, float(np.quantile(seen, CALM, method="higher")))
            for v, seen in enumerate(self._seen)
            if len(seen) >= _ENOUGH
        }
        times = np.log(self.times[0])

        def borrowed(variant: int) -> float:
            if not own:
                return self._spread
            return min(own[min(own, key=lambda other: abs(times[other] - times[variant]))], _SLOWEST)

        self.spreads = [own[v] if v in own else borrowed(v) for v in range(len(self))]
        self.uneven = max(self.spreads) - 1
