"""Traces, read and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raysearch.basics.failures import MissingFile, UserError
from raysearch.serving.simulation.traces import on_off, poisson, ramp, read_trace


def test_dates_and_seconds_are_read_in_order(tmp_path: Path) -> None:
    dates, seconds = tmp_path / "dates.csv", tmp_path / "seconds.csv"
    dates.write_text("TIMESTAMP,Tokens\n2023-11-16 18:17:04.5,1\n2023-11-16 18:17:03.0000000,2\n")
    seconds.write_text("at\n7.5\n6\n")
    assert read_trace(dates).tolist() == [0.0, 1500.0]
    assert read_trace(seconds).tolist() == [0.0, 1500.0]


@pytest.mark.parametrize("text", ["", "at\n", "at\nyesterday\n", "at\n1\nnan\n"])
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"trace\.csv"):
        read_trace(path)
    with pytest.raises(MissingFile):
        read_trace(tmp_path / "none.csv")


def test_drawn_traces_have_their_rates() -> None:
    for arrivals in (poisson(100, 50, 0), on_off(100, 50, 0, on=1, off=1), ramp(0, 200, 50, 0)):
        assert (np.diff(arrivals) >= 0).all()
        assert arrivals[0] == 0
    assert len(poisson(100, 50, 0)) == pytest.approx(5000, rel=0.1)
    assert len(ramp(0, 200, 50, 0)) == pytest.approx(5000, rel=0.1)
    assert 0.2 * 5000 < len(on_off(100, 50, 0, on=1, off=1)) < 0.8 * 5000
    assert np.array_equal(poisson(100, 5, 3), poisson(100, 5, 3))
    assert not np.array_equal(poisson(100, 5, 3)[:9], poisson(100, 5, 4)[:9])
