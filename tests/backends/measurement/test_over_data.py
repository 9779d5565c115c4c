from __future__ import annotations

import numpy as np
import pytest

from raysearch.backends.measurement.over_data import one_by_one, over_data, summary
from raysearch.backends.measurement.protocol import Clock


class Machine:
    """Its clock runs by what is asked of it; in slow phases everything takes twice as long."""

    def __init__(self, phase: int) -> None:
        self.now, self.phase = 0.0, phase

    def work(self, ms: float) -> None:
        slow = 2.0 if int(self.now // (self.phase * 1e6)) % 2 else 1.0
        self.now += slow * ms * 1e6

    def clock(self) -> Clock:
        return Clock(wall=lambda: int(self.now), cpu=lambda: int(self.now))


@pytest.mark.parametrize("phase", [10_000_000, 300])
def test_times_over_data_are_found_whatever_phase_the_machine_is_in(phase: int) -> None:
    machine = Machine(phase)
    costs = np.where(np.arange(200) % 3 == 0, 2.0, 0.5)  # a third of the inputs goes on
    forms = {"one": machine.work, "two": lambda ms: machine.work(1.1 * ms)}
    found = over_data(forms, costs.tolist(), lambda: machine.work(4.0), machine.clock())
    for name, factor in (("one", 1.0), ("two", 1.1)):
        said = summary(found[name], reference_ms=4.0)
        assert said["mean_ms"] == pytest.approx(factor * costs.mean(), rel=0.1)
        # Of a block in which the phase changes single times are off by a third.
        assert said["p99_ms"] == pytest.approx(factor * 2.0, rel=0.35 if phase == 300 else 0.01)
        assert said["p50_ms"] == pytest.approx(factor * 0.5, rel=0.05)


def test_inputs_are_taken_apart_by_name() -> None:
    batch = {"x": np.arange(6).reshape(3, 2), "mask": np.arange(3)}
    singles = one_by_one(batch)
    assert [s["x"].tolist() for s in singles] == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert singles[1]["mask"].shape == (1,)
