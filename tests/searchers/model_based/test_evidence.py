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
