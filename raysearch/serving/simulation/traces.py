"""Arrivals of requests: read from a file, or drawn; always in ms from the first one on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.basics.failures import MissingFile, UserError

Arrivals = NDArray[np.float64]


def read_trace(path: Path | str) -> Arrivals:
    """The arrivals of a CSV file whose first column has times: dates, or seconds as numbers.

    Raises:
        MissingFile: there is no such file.
        UserError: it is no table, or its first column holds no times.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"trace {path} does not exist: give a CSV file whose first column has times")
    try:
        column = pd.read_csv(path, usecols=[0]).iloc[:, 0]
        seconds = column.astype(float) if column.dtype.kind in "fiu" else _seconds(column)
    except (ValueError, OSError) as error:
        raise UserError(
            f"trace {path} cannot be read: its first column should have times ({error})"
        ) from error
    times: Arrivals = np.sort(seconds.to_numpy(dtype=float)) * 1e3
    if not len(times) or not np.isfinite(times).all():
        raise UserError(f"trace {path} holds no times, or one that is no number")
    return np.asarray(times - times[0])


def poisson(rate: float, seconds: float, seed: int) -> Arrivals:
    """Arrivals that know nothing of each other.

    Args:
        rate: a second.
        seconds: how long.
        seed: of what is drawn.
    """
    return _thinned(lambda t: np.full_like(t, rate), rate, seconds, seed)


def on_off(rate: float, seconds: float, seed: int, *, on: float = 0.5, off: float = 2.0) -> Arrivals:
    """Bursts of Poisson arrivals; bursts and pauses are exponential.

    Args:
        rate: a second, within bursts.
        seconds: how long.
        seed: of what is drawn.
        on: mean seconds of a burst.
        off: mean seconds of a pause.
    """
    rng = np.random.default_rng(seed)
    periods = max(4, int(4 * seconds / (on + off)))
    edges = np.cumsum(rng.exponential([on, off], (periods, 2)).ravel())

    def within(t: Arrivals) -> Arrivals:
        return np.where(np.searchsorted(edges, t) % 2 == 0, rate, 0.0)

    return _thinned(within, rate, seconds, seed + 1)


def ramp(low: float, high: float, seconds: float, seed: int) -> Arrivals:
    """Poisson arrivals whose rate rises from one value to another, and falls again.

    Args:
        low: a second, at both ends.
        high: a second, in the middle.
        seconds: how long.
        seed: of what is drawn.
    """

    def rate(t: Arrivals) -> Arrivals:
        return low + (high - low) * (1 - np.abs(2 * t / seconds - 1))

    return _thinned(rate, max(low, high), seconds, seed)


def _thinned(rate: Callable[[Arrivals], Arrivals], highest: float, seconds: float, seed: int) -> Arrivals:
    """Arrivals at a rate that varies: of those at the highest rate, as many as the rate says are kept."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, seconds, rng.poisson(highest * seconds)))
    kept: Arrivals = times[rng.uniform(0, highest, len(times)) < rate(times)] * 1e3
    return kept - kept[0] if len(kept) else kept


def _seconds(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, format="ISO8601").astype("datetime64[ns]").astype("int64") / 1e9
