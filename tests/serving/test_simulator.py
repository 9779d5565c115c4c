"""The simulator beside cases worked out by hand, and the rule beside its rivals on drawn traces."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.serving.latencies import Latencies
from raysearch.serving.policy import ArrivalRate, Plan, SlackFit, Static, oracle
from raysearch.serving.simulation.simulator import Failure, drawn, simulate
from raysearch.serving.simulation.traces import on_off, poisson, ramp

TIMES = (0.3, 0.45, 0.75, 1.6, 4.2, 6.8)
ACCURACIES = (0.80, 0.86, 0.915, 0.935, 0.947, 0.950)


def costs(times: tuple[float, ...] = TIMES) -> Latencies:
    return Latencies([{1: time} for time in times])


def test_three_requests_by_hand() -> None:
    """Slow takes 6, fast 2, within 10: the first gets slow; then two wait with 5 and 5.5 left: both fast."""
    found = simulate(
        np.array([0.0, 1.0, 1.5]), 10.0, Plan(10.0, 0.0), Latencies([{1: 2.0}, {1: 6.0}], 1.0), (0.5, 0.9)
    )
    assert found.used.tolist() == [1, 0, 0]
    assert found.taken_ms.tolist() == pytest.approx([6.0, 7.0, 8.5])
    assert (found.attained, found.switches) == (1.0, 1)
    assert found.accuracy == found.effective == pytest.approx(1.9 / 3)


def test_what_cannot_be_in_time_is_refused_and_costs_nothing() -> None:
    found = simulate(np.zeros(4), 10.0, Static(10.0, 0), Latencies([{1: 4.0}], 1.0), (0.8,))
    assert found.used.tolist() == [0, 0, -1, -1]
    assert found.attained == 0.5
    assert found.effective == pytest.approx(0.4)
    assert found.accuracy == pytest.approx(0.8)


def test_two_workers_serve_at_once() -> None:
    found = simulate(np.zeros(4), 10.0, Static(10.0, 0), Latencies([{1: 4.0}], 1.0), (0.8,), workers=2)
    assert found.taken_ms.tolist() == [4.0, 4.0, 8.0, 8.0]


def test_service_times_may_be_others_than_expected() -> None:
    found = simulate(
        np.array([0.0]), 10.0, Static(10.0, 0), Latencies([{1: 4.0}]), (0.8,), service=lambda v, b, n: 11.0
    )
    assert found.used.tolist() == [0]
    assert found.attained == 0.0


def test_a_worker_that_dies_loses_what_it_holds_and_comes_back() -> None:
    arrivals = np.array([0.0, 1.0, 6.0, 8.5])
    dies = [Failure(0, 2.0, 5.0)]
    found = simulate(arrivals, 10.0, Static(10.0, 0), Latencies([{1: 4.0}]), (0.8,), failures=dies)
    assert (found.lost, found.used.tolist()) == (
        1,
        [-1, 0, 0, -1],
    )  # back at 7: 11, 15, 19 > 18.5
    assert found.taken_ms[1:3].tolist() == [10.0, 9.0]


def test_the_oracle_by_hand() -> None:
    """Within 10, with slow (6) and fast (2): two at once get both, three one slow, six five fast ones."""
    times, accuracies = (2.0, 6.0), (0.5, 0.9)
    assert oracle(np.zeros(2), 10.0, times, accuracies) == pytest.approx(1.4 / 2)
    assert oracle(np.zeros(3), 10.0, times, accuracies) == pytest.approx(1.9 / 3)
    assert oracle(np.zeros(6), 10.0, times, accuracies) == pytest.approx(2.5 / 6)
    assert oracle(np.array([0.0, 100.0]), 10.0, times, accuracies) == pytest.approx(0.9)
    assert oracle(np.array([]), 10.0, times, accuracies) == 0


TRACES = {
    **{f"poisson{seed}": lambda seed=seed: poisson(250, 6, seed) for seed in range(3)},
    **{f"on_off{seed}": lambda seed=seed: on_off(500, 12, seed) for seed in range(3)},
    **{f"ramp{seed}": lambda seed=seed: ramp(20, 700, 5, seed) for seed in range(3)},
}


@pytest.mark.parametrize("slo_ms", [20.0, 50.0])
@pytest.mark.parametrize("name", TRACES)
def test_the_plan_is_near_the_oracle_and_above_its_rivals(name: str, slo_ms: float) -> None:
    arrivals = TRACES[name]()
    plan = simulate(arrivals, slo_ms, Plan(slo_ms), costs(), ACCURACIES)
    rivals = [SlackFit(slo_ms), ArrivalRate(slo_ms), *(Static(slo_ms, n) for n in range(len(TIMES)))]
    best = max(simulate(arrivals, slo_ms, rule, costs(), ACCURACIES).effective for rule in rivals)
    assert plan.attained >= 0.999
    assert plan.effective > best
    assert plan.effective > oracle(arrivals, slo_ms, TIMES, ACCURACIES) - 0.003


@pytest.mark.parametrize("name", TRACES)
def test_the_plan_keeps_its_deadlines_where_times_vary(name: str) -> None:
    arrivals = TRACES[name]()
    found = simulate(arrivals, 20.0, Plan(20.0), costs(), ACCURACIES, service=drawn(TIMES, seed=1))
    assert found.attained >= 0.99


def test_times_that_were_measured_elsewhere_are_corrected() -> None:
    arrivals = poisson(150, 20, 0)
    slower = [2.5 * time for time in TIMES]
    found = simulate(
        arrivals, 20.0, Plan(20.0), costs(), ACCURACIES, service=drawn(slower, 1, sigma=0, share=0)
    )
    assert found.attained >= 0.985


@pytest.mark.parametrize(("times", "stall"), [((0.3, 1.6, 6.8), 400), ((8.5,), 20), ((5.0, 15.0), 60)])
def test_a_stall_is_got_over(times: tuple[float, ...], stall: int) -> None:
    """Some inferences of 80 ms in a row, and what comes long after them is served as if they had not been."""
    arrivals, accuracies = poisson(30, 200, 0), ACCURACIES[-len(times) :]

    def served(slow: range) -> float:
        found = simulate(
            arrivals,
            20.0,
            Plan(20.0),
            costs(times),
            accuracies,
            service=lambda variant, size, number: 80.0 if number in slow else times[variant],
        )
        return float(found.in_time[len(arrivals) // 2 :].mean())

    assert served(range(100, 100 + stall)) == served(range(0))


@pytest.mark.parametrize("rate", [900, 1500, 2000])
def test_an_overload_is_served_in_batches(rate: int) -> None:
    """A batch of eight takes what three take alone: one variant, and two of which the better does not fit."""
    arrivals = poisson(rate, 10, 1)
    fast, slow = {1: 1.0, 2: 1.3, 4: 1.9, 8: 3.0}, {1: 3.0, 2: 5.0, 4: 8.0, 8: 14.0}
    for times, accuracies in (([fast], (0.9,)), ([fast, slow], (0.9, 0.95))):
        plan = simulate(arrivals, 20.0, Plan(20.0), Latencies(times), accuracies)
        rival = simulate(arrivals, 20.0, SlackFit(20.0), Latencies(times), accuracies)
        assert plan.attained >= 0.995
        assert plan.effective >= rival.effective


def test_the_same_seed_gives_the_same_run() -> None:
    arrivals = on_off(300, 10, 0)
    runs = [
        simulate(arrivals, 20.0, Plan(20.0), costs(), ACCURACIES, service=drawn(TIMES, 3)).effective
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
