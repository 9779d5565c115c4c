"""Energy against a simulated machine of known power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from metered_machine import Machine

from raysearch.backends.base import MeasurementError


@pytest.mark.parametrize("tick_s", [0.0, 0.001, 0.02, 0.1])
@pytest.mark.parametrize("ms", [0.05, 1.0, 40.0])
@pytest.mark.parametrize(("idle_w", "busy_w"), [(5.0, 25.0), (60.0, 150.0), (0.5, 700.0)])
def test_the_energy_of_a_machine_is_right_and_idle_power_is_not_in_it(idle_w, busy_w, ms, tick_s):
    found = Machine(idle_w, busy_w, ms, tick_s).energy()
    assert found.millijoules == pytest.approx((busy_w - idle_w) * ms, rel=0.02)
    assert found.noise < 0.2


def test_the_noise_says_how_far_off_a_small_difference_may_be():
    found = Machine(70.0, 80.0, 1.0, 0.02).energy()
    assert 1e-4 < abs(found.millijoules - 10.0) <= found.noise * 10.0 < 2.0


def test_a_power_that_wanders_shows_in_the_noise():
    rng = np.random.default_rng(0)
    machine = Machine(5.0, 25.0, 1.0)
    steady = machine.energy().noise
    machine.infer = lambda: setattr(machine, "_busy_w", rng.uniform(15, 35)) or Machine.infer(machine)
    machine._pass = lambda s, w: Machine._pass(machine, s, w * (1 + 0.5 * math.sin(machine.now_s)))
    assert machine.energy().noise > max(0.05, 2 * steady)


def test_no_more_power_than_at_rest_is_no_figure():
    for machine in (Machine(20.0, 20.0, 1.0, 0.02), Machine(20.0, 19.0, 1.0)):
        found = machine.energy()
        assert math.isnan(found.millijoules)
        assert found.noise == math.inf


def test_a_meter_that_stands_still_or_runs_backwards_is_refused():
    machine = Machine(5.0, 25.0, 1.0)
    with pytest.raises(MeasurementError, match="simulated has stood still for 5 s"):
        machine.energy(lambda: 7.0)
    with pytest.raises(MeasurementError, match=r"simulated runs backwards: from -.* J to -"):
        machine.energy(lambda: -machine.read())
