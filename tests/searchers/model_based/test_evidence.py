from __future__ import annotations

from raysearch.objectives import Goals
from raysearch.searchers.model_based.evidence import Evidences, Observed

TWO = Goals.parse(["minimize f", "minimize latency_ms"], last_step=9)


def test_models_see_a_fixed_number_of_trials_however_many_are_under_way():
    evidences = Evidences(TWO)
    for i in range(60):
        evidences.trials[str(i)] = Observed([i / 60], [True])
        if i < 20:
            evidences.trials[str(i)].tell(9, {"f": 1.0 + i, "latency_ms": 1.0})
            evidences.end(str(i), "finished")
    seen = evidences.select(10)
    assert (seen.running.sum(), len(seen.running)) == (4, 14)
    assert seen.vectors[-1, 0] == 59 / 60


def test_a_metric_that_no_trial_changed_is_known_as_soon_as_it_is_reported():
    evidences = Evidences(Goals.parse(["minimize f", "minimize delay"], last_step=9))
    for i in range(4):
        evidences.trials[str(i)] = Observed([i / 4], [True])
        evidences.trials[str(i)].tell(1, {"f": 2.0 + i, "delay": 1.0 + i})
    assert evidences.known_early().tolist() == [False, False]
    for i in range(3):
        evidences.trials[str(i)].tell(9, {"f": 1.0 + i, "delay": 1.0 + i})
        evidences.end(str(i), "finished")
    assert evidences.known_early().tolist() == [False, True]
    assert evidences.select(10).targets[-1].tolist()[1] == 4.0  # of the one under way
    evidences.trials["3"].tell(9, {"f": 4.0, "delay": 4.5})
    assert evidences.known_early().tolist() == [False, False]


def test_the_noise_of_a_small_validation_set_is_noise():
    evidences = Evidences(Goals.parse(["maximize accuracy", "minimize latency_ms"], last_step=9))
    for i, told in enumerate([{"se_accuracy": 0.02}, {}, {"se_accuracy": float("nan")}]):
        evidences.trials[str(i)] = Observed([i / 3], [True])
        evidences.trials[str(i)].tell(9, {"accuracy": 0.5, "latency_ms": 1.0, **told})
        evidences.end(str(i), "finished")
    assert evidences.select(10).variances.tolist() == [[0.02**2, 0.0], [0.0, 0.0], [0.0, 0.0]]
