"""The measuring rule against a simulated machine: it converges, stops in time, and noise does not bias it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.backends.protocol import Clock, Protocol, measure, median_interval, undisturbed

NO_REST = Protocol(warm_s=0.0, settle_ms=0.0)


class Machine:
    """A machine whose clocks move only when a model runs or the measurement rests.

    ``slow(now_s)`` gives the factor by which everything is slowed at a time; ``away`` is the share of the
    wall-clock time in which the thread does not run.
    """

    def __init__(self, slow: Callable[[float], float] = lambda now: 1.0, away: float = 0.0) -> None:
        self.wall_ns = self.cpu_ns = 0
        self.rests = 0
        self.calls = {"candidate": 0, "reference": 0}
        self._slow, self._away = slow, away

    def model(self, name: str, ms: float) -> Callable[[], None]:
        def run() -> None:
            self.calls[name] += 1
            cpu = ms * 1e6 * self._slow(self.wall_ns / 1e9)
            self.cpu_ns += round(cpu)
            self.wall_ns += round(cpu / (1 - self._away))

        return run

    def rest(self, seconds: float) -> None:
        self.rests += 1
        self.wall_ns += round(seconds * 1e9)

    @property
    def clock(self) -> Clock:
        return Clock(wall=lambda: self.wall_ns, cpu=lambda: self.cpu_ns, sleep=self.rest)

    def measure(self, candidate_ms: float, reference_ms: float, protocol: Protocol = NO_REST):
        return measure(
            self.model("candidate", candidate_ms), self.model("reference", reference_ms), protocol, self.clock
        )


def bimodal(seed: int, phase_s: float) -> Callable[[float], float]:
    """Phases of slowness x1.0 or x1.6 with a little jitter, as beside a busy sibling core."""
    rng = np.random.default_rng(seed)
    phases: list[float] = []

    def slow(now: float) -> float:
        while len(phases) <= now / phase_s:
            phases.append(float(rng.choice([1.0, 1.6])))
        return phases[int(now / phase_s)] * float(1 + rng.exponential(0.01))

    return slow


def test_a_quiet_machine_stops_at_the_fewest_samples():
    machine = Machine()
    figures = machine.measure(0.5, 2.0)
    assert figures.ratio == pytest.approx(0.25)
    assert figures.noise == pytest.approx(0.0, abs=1e-9)
    assert figures.converged
    assert len(figures.cpu_ms) == 60
    assert machine.rests == 2
    assert figures.contention == pytest.approx(0.0)
    np.testing.assert_allclose(figures.cpu_ms, 0.5)
    np.testing.assert_allclose(figures.reference_ms, 2.0)


def test_blocks_fill_two_milliseconds_for_each_model():
    machine = Machine()
    machine.measure(0.1, 5.0)
    assert machine.calls["candidate"] == pytest.approx(3 + 60 * 20, abs=60)
    assert machine.calls["reference"] == 3 + 60


def test_settling_runs_are_not_timed():
    machine = Machine()
    protocol = Protocol(warm_s=0.0, settle_ms=4.0)
    figures = machine.measure(2.0, 2.0, protocol)
    assert machine.calls["candidate"] == 3 + 60 * 3
    np.testing.assert_allclose(figures.cpu_ms, 2.0)


@pytest.mark.parametrize("phase_s", [0.003, 0.02, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_slow_phases_do_not_bias_the_ratio(phase_s, seed):
    figures = Machine(bimodal(seed, phase_s)).measure(0.4, 1.0, Protocol(warm_s=0.0, settle_ms=0.0, max_s=60))
    assert figures.ratio == pytest.approx(0.4, rel=0.03)


def test_a_steady_drift_cancels():
    figures = Machine(lambda now: 1 + now).measure(1.0, 1.0)
    assert figures.ratio == pytest.approx(1.0, rel=1e-3)


def test_it_gives_up_at_the_most_samples():
    rng = np.random.default_rng(0)
    figures = Machine(lambda now: float(rng.uniform(1, 9))).measure(2.0, 2.0, Protocol(warm_s=0, max_s=600))
    assert len(figures.cpu_ms) == 300
    assert not figures.converged
    assert figures.noise > 0.02


def test_it_gives_up_in_time():
    rng = np.random.default_rng(0)
    figures = Machine(lambda now: float(rng.uniform(1, 9))).measure(2.0, 2.0, Protocol(warm_s=0, max_s=1.0))
    assert 6 <= len(figures.cpu_ms) < 60
    assert 1.0 < figures.seconds < 1.2


def test_a_slow_model_still_gives_six_samples():
    figures = Machine().measure(3000.0, 1000.0)
    assert len(figures.cpu_ms) == 6
    assert figures.ratio == pytest.approx(3.0)


def test_time_away_is_contention_and_not_latency():
    figures = Machine(away=0.5).measure(1.0, 2.0)
    assert figures.contention == pytest.approx(0.5)
    np.testing.assert_allclose(figures.cpu_ms, 1.0)
    np.testing.assert_allclose(figures.wall_ms, 2.0)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=60))
def test_the_interval_lies_within_the_values(values):
    median, noise = median_interval(np.array(values))
    assert median == pytest.approx(float(np.median(values)))
    assert 0 <= noise * 2 * median <= max(values) - min(values) + 1e-9


def test_the_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(2000, 61))
    ordered = np.sort(draws, axis=1)
    halves = np.array([median_interval(row)[0] * median_interval(row)[1] for row in draws])
    # Its half-width is that of the order statistics 22 and 38 of 61, which cover the median in 95 % of draws.
    covered = (ordered[:, 22] <= np.log(2)) & (np.log(2) <= ordered[:, 38])
    assert covered.mean() > 0.94
    np.testing.assert_allclose(halves, (ordered[:, 38] - ordered[:, 22]) / 2)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be pinned on this system")
@pytest.mark.parametrize("granted", [True, False])
def test_undisturbed_gives_everything_back(monkeypatch, granted):
    def refuse(*_: object) -> None:
        raise PermissionError

    before = os.sched_getaffinity(0), os.sched_getscheduler(0)
    with monkeypatch.context() as patch:
        if not granted:
            set_policy = os.sched_setscheduler
            patch.setattr(
                os,
                "sched_setscheduler",
                lambda p, o, a: refuse() if o == os.SCHED_FIFO else set_policy(p, o, a),
            )
        with contextlib.suppress(KeyError), undisturbed():
            assert len(os.sched_getaffinity(0)) == 1
            raise KeyError
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0)) == before


def test_each_inference_has_its_own_wall_clock_time():
    """Of ten inferences one is slow: a mean over blocks would hide it, the tail must not."""
    machine = Machine()
    calls = 0

    def spiky() -> None:
        nonlocal calls
        calls += 1
        spent = 4_000_000 if calls % 20 == 0 else 100_000
        machine.cpu_ns += spent
        machine.wall_ns += spent

    figures = measure(spiky, machine.model("reference", 1.0), NO_REST, machine.clock)
    assert np.percentile(figures.wall_ms, 50) == pytest.approx(0.1)
    assert np.percentile(figures.wall_ms, 99) == pytest.approx(4.0)


def test_a_clock_that_cannot_tell_inferences_apart_gives_the_means_of_blocks():
    machine = Machine()
    clock = Clock(wall=lambda: machine.wall_ns, cpu=lambda: machine.cpu_ns, sleep=machine.rest, each=False)
    figures = measure(machine.model("candidate", 0.5), machine.model("reference", 1.0), NO_REST, clock)
    assert len(figures.wall_ms) == len(figures.cpu_ms)


@pytest.mark.parametrize(("cold_s", "warm"), [(0.0, True), (0.25, False)])
def test_a_model_that_is_still_getting_faster_is_not_warm(cold_s: float, warm: bool):
    machine = Machine()
    cold = machine.model("candidate", 0.8)
    hot = machine.model("candidate", 0.5)

    def infer() -> None:
        (cold if machine.wall_ns < cold_s * 1e9 else hot)()

    figures = measure(infer, machine.model("reference", 2.0), NO_REST, machine.clock)
    assert figures.warm is warm
