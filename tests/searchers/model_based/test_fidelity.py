from __future__ import annotations

import math

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.searchers.model_based.evidence import Evidences, Observed, front_of
from raysearch.searchers.model_based.fidelity import final_values, stage_of


def test_final_values_follow_the_trials_that_went_on():
    rng = np.random.default_rng(0)
    early = rng.random(20)
    finals = np.append(0.5 * early + 0.1, [math.nan, math.nan, math.nan])
    histories = [{"2": v, "6": v / 2} for v in early] + [{"2": 0.4}, {}, {"4": 0.1}]
    estimates, variances = final_values(histories, finals)
    assert estimates[20] == pytest.approx(0.3, abs=0.03)
    assert 0 < variances[20] < 0.01
    assert np.isnan(estimates[21:]).all()
    assert (variances[:20] == 0).all()


def test_a_noisy_stage_says_so():
    rng = np.random.default_rng(0)
    finals = np.append(rng.random(30), math.nan)
    histories = [{"0": v} for v in rng.random(31)]
    _, variances = final_values(histories, finals)
    assert variances[-1] > 0.05


@pytest.mark.parametrize("unit", [1e-7, -1e-3, 1e5])
def test_estimates_do_not_depend_on_the_unit(unit):
    rng = np.random.default_rng(0)
    early = rng.random(20)
    finals = np.append(0.5 * early + 0.01 * rng.random(20), [math.nan, math.nan])
    histories = [{"2": v} for v in (*early, 0.4, 0.7)]
    estimates, variances = final_values(histories, finals)
    in_unit = [{"2": unit * history["2"]} for history in histories]
    scaled, scaled_variances = final_values(in_unit, unit * finals)
    assert scaled / unit == pytest.approx(estimates)
    assert scaled_variances / unit**2 == pytest.approx(variances)


def test_stages_are_few_and_rise():
    stages = [int(stage_of(step)) for step in range(0, 200)]
    assert stages == sorted(stages)
    assert len(set(stages)) < 20


GOALS = Goals.parse(["minimize error", "minimize latency_ms"], ["latency_ms <= 2"], last_step=9)


def observed(evidences, name, error, latency, outcome, step):
    evidences.trials[name] = Observed([0.5], [True])
    evidences.trials[name].tell(0, {"latency_ms": latency})
    for s in range(1, step + 1):
        evidences.trials[name].tell(s, {"error": error + 1 / s})
    if outcome:
        evidences.end(name, outcome)


def test_static_metrics_count_exactly_and_trained_ones_by_their_stage():
    evidences = Evidences(GOALS)
    for i in range(6):
        observed(evidences, f"f{i}", i / 10, 1.0 + i / 4, "finished", 9)
    observed(evidences, "stopped", 0.2, 3.0, "stopped", 2)
    observed(evidences, "running", 0.2, 0.5, None, 0)
    found = evidences.select(100)
    assert found.targets[6] == pytest.approx([0.2 + 1 / 9, 3.0, 0.5], abs=0.02)
    assert np.isnan(found.targets[7, 0])
    assert found.targets[7, 1] == 0.5
    assert found.variances[6, 0] > 0 == found.variances[6, 1]
    assert found.running.tolist() == [False] * 7 + [True]
    assert np.flatnonzero(front_of(found, 2)).tolist() == [0]


def test_a_selection_keeps_the_best():
    evidences = Evidences(GOALS)
    for i in range(50):
        observed(evidences, f"{i}", abs(i - 33), 1 + abs(i - 33) / 100, "finished", 9)
    found = evidences.select(10)
    assert len(found.targets) == 10
    assert found.targets[:, 0].min() == pytest.approx(1 / 9)
