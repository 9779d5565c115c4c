"""How fast trials train: what finishing them will take, in whatever unit their times are told."""

from __future__ import annotations


class Pace:
    """The time a step of each trial takes, from the times of its reports.

    Step 0 is left out: it measures, and is no measure of an epoch.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}
        self._taken: dict[str, tuple[int, float]] = {}
        self._steps, self._time = 0, 0.0

    def began(self, trial: str, step: int, time: float) -> None:
        """A trial that had come to a step goes on at a time."""
        self._last[trial] = (step, time)

    def reported(self, trial: str, step: int, time: float) -> None:
        """A trial reports a step at a time."""
        before, since = self._last.get(trial, (step, time))
        self._last[trial] = (step, time)
        if before >= 0 and step > before:
            steps, taken = self._taken.get(trial, (0, 0.0))
            self._taken[trial] = (steps + step - before, taken + time - since)
            self._steps, self._time = self._steps + step - before, self._time + time - since

    def until(self, trial: str, step: int, last: int) -> float:
        """The time from a step to the last at the trial's own pace, else at that of all; 0 where unknown."""
        steps, time = self._taken.get(trial, (self._steps, self._time))
        return (last - max(step, 0)) * time / steps if steps else 0.0
