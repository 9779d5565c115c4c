"""Memory that is held for a while is counted, also after it is given back."""

import sys

import numpy as np
import pytest

from raysearch.backends import memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much a process holds")
def test_the_peak_is_what_was_held_at_most():
    with memory.peak_growth() as peak:
        block = np.ones(40_000_000, np.uint8)
        del block
    assert peak.mb == pytest.approx(40, abs=8)
    with memory.peak_growth() as later:
        pass
    assert later.mb < 8


def test_where_the_system_does_not_say_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_RESET", tmp_path / "nowhere" / "clear_refs")
    with memory.peak_growth() as peak:
        pass
    assert peak.mb is None
