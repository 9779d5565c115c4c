"""How fast trials train: what finishing them will take, in whatever unit their times are told."""

from __future__ import annotations


class Pace:
    """The time a step of each trial takes, from the times of its reports.

    Step 0 is left out: it measures, and is no measure of an epoch. The last step, which exports, has a time
    of its own.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}
        self._taken: dict[str, tuple[int, float]] = {}
        self._steps, self._time = 0, 0.0
        self._ends, self._end_time = 0, 0.0

    def began(self, trial: str, step: int, time: float) -> None:
        """A trial that had come to a step goes on at a time."""
        self._last[trial] = (step, time)

    def reported(self, trial: str, step: int, time: float, last: int) -> None:
        """A trial, whose last step is ``last``, reports a step at a time."""
        before, since = self._last.get(trial, (step, time))
        self._last[trial] = (step, time)
        if before < 0 or step <= before:
            return
        if step == last:
            self._ends, self._end_time = self._ends + 1, self._end_time + time - since
            return
        steps, taken = self._taken.get(trial, (0, 0.0))
        self._taken[trial] = (steps + step - before, taken + time - since)
        self._steps, self._time = self._steps + step - before, self._time + time - since

    def until(self, trial: str, step: int, last: int) -> float:
        """The time from a step to the last at the trial's own pace, else at that of all; 0 where unknown."""
        if step >= last:
            return 0.0
        steps, time = self._taken.get(trial, (self._steps, self._time))
        each = time / steps if steps else 0.0
        end = self._end_time / self._ends if self._ends else each
        return (last - 1 - max(step, 0)) * each + end
