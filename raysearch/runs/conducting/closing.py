"""When no further trial begins: what is left of the time finishes those that may end on the front."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from raysearch.schedulers.pace import Pace


@dataclass
class Closing:
    """The end of a search by the clock.

    Attributes:
        deadline: seconds since the epoch; inf: none.
        last_step: the step that completes a trial, by its name.
        pace: how fast trials train.
    """

    deadline: float
    last_step: Callable[[str], int]
    pace: Pace = field(default_factory=Pace)

    def is_due(self, left: Callable[[], Mapping[str, int]], workers: Callable[[], int]) -> bool:
        """Whether one more trial would leave too little time to finish it and all that is left.

        Args:
            left: the trials that are to be finished, under way or paused, with the steps that they reached;
                asked only where there is a deadline.
            workers: how many finish them at a time.
        """
        if self.deadline == math.inf:
            return False
        known = {**left(), "one more": 0}
        each = [self.pace.until(name, step, self.last_step(name)) for name, step in known.items()]
        return time.time() + max(sum(each) / workers(), *each) >= self.deadline
