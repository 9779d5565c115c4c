"""What Ray Tune is told, and what of it must not be left behind."""

from __future__ import annotations

import signal
from types import SimpleNamespace

from raysearch import tuning


def test_ctrl_c_is_the_callers_own_again_when_tune_has_ended(monkeypatch):
    class Tuner:
        def __init__(self, *args, **kwargs):
            pass

        def fit(self):
            signal.signal(signal.SIGINT, lambda number, frame: None)  # as Tune does, and does not undo

    monkeypatch.setattr(tuning.tune, "Tuner", Tuner)
    monkeypatch.setattr(tuning, "_trainable", lambda setup, resources: None)
    before = signal.getsignal(signal.SIGINT)
    tuning.conduct(SimpleNamespace(complete=False), None, {"cpu": 1})
    assert signal.getsignal(signal.SIGINT) is before
