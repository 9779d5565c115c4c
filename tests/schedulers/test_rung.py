from __future__ import annotations

import numpy as np
import pytest

from raysearch.schedulers import rung as module
from raysearch.schedulers.rung import Rung


def filled(costs):
    rung = Rung(1, 1, "epsilon_net")
    passed = []
    for i, cost in enumerate(costs):
        rung.add(str(i), np.array([cost], dtype=float), 0.0)
        passed.append(rung.newest_passes(3))
    return passed


def test_of_many_trials_the_latest_are_compared(monkeypatch):
    monkeypatch.setattr(module, "_JUDGED", 6)
    rising = list(range(20))
    assert filled([*rising, 15.5])[-1], "second of the latest six, though 17th of all"
    assert not filled([*rising, 18.5, 18.6, 18.7])[-1]


def test_up_to_that_many_all_are_compared():
    assert not filled([*range(20), 15.5])[-1]


@pytest.mark.parametrize("eta", [2, 3.5])
def test_what_passes_is_told_by_the_state_alone(eta):
    rng = np.random.default_rng(0)
    rung, other = Rung(1, 2, "hypervolume"), Rung(1, 2, "hypervolume")
    for i in range(40):
        rung.add(str(i), rng.random(2), float(rng.random() < 0.2))
    other.load(rung.state())
    assert rung.newest_passes(eta) == other.newest_passes(eta)
