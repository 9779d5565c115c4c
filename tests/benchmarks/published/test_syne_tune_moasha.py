from __future__ import annotations

import numpy as np
import pytest

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision

pytest.importorskip("syne_tune", reason="Syne Tune is installed with raysearch[peers]")


def test_the_peer_decides_by_itself():
    from benchmarks.published.syne_tune_moasha import MOASHA

    goals = Goals.parse(["maximize accuracy", "minimize size"])
    peer = MOASHA(goals, max_step=9)
    rng = np.random.default_rng(0)
    reports = [(str(i), {"accuracy": rng.random(), "size": rng.random()}) for i in range(30)]
    decisions = [peer.decide(trial, 1, values) for trial, values in reports]
    assert decisions[0] is Decision.CONTINUE  # alone at its rung
    assert set(decisions) == {Decision.CONTINUE, Decision.STOP}
    costs = [goals.costs(values).tolist() for _, values in reports]
    seen = [tuple(found.values()) for found in peer._peer.brackets[0].rungs[-1][1].values()]
    assert sorted(seen) == sorted(map(tuple, costs))  # to minimise, each once
    assert peer.decide("0", 9, reports[0][1]) is Decision.STOP  # at the last step it stops all
