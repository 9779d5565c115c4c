"""What the benchmarks share: their arguments, where the data lie, the figure of merit, the printed table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.basics.spelling import did_you_mean
from raysearch.pareto import hypervolume, non_dominated

Floats = NDArray[np.float64]
REFERENCE = 1.1  # of the normalised costs: the true front's nadir plus a tenth of its range


def arguments(doc: str | None, seeds: int) -> argparse.ArgumentParser:
    """The parser with the arguments that every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a file of the table's format, or the folder of all tables")
    parser.add_argument("--seeds", type=_seeds, default=seeds, help=f"repetitions, >= 2 (default {seeds})")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    return parser


def data_file(given: Path | None, name: str) -> Path:
    """The file of a table: the one given, or ``name`` in the folder given, RAYSEARCH_DATA or ../shared/data.

    Exits with code 2 and one sentence where there is no such file.
    """
    path = given or Path(os.environ.get("RAYSEARCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = path / name if path.is_dir() else path
    if not path.is_file():
        refuse(f"{path} does not exist: give --data, or set RAYSEARCH_DATA to the folder of tables")
    return path


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """A .csv or .parquet file that has these columns.

    Exits with code 2 and one sentence where it is no table or lacks one of them.
    """
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # those of pandas and of Arrow are ValueErrors
        refuse(f"{path} is not a table: {error}")
    check_columns(path, table, columns)
    return table


def read_curves(path: Path) -> list[tuple[Floats, Floats]]:
    """The tables of an .npz file with error_NAME (n, epochs) and log10_params_NAME (n,).

    Exits with code 2 and one sentence where one of them is missing.
    """
    with np.load(path) as file:
        errors = sorted(key for key in file if key.startswith("error_"))
        sizes = [key.replace("error_", "log10_params_") for key in errors]
        check_columns(path, file, sizes or ["error_NAME"])
        return [
            (file[error].astype(np.float64), file[size].astype(np.float64))
            for error, size in zip(errors, sizes, strict=True)
        ]


def check_columns(path: Path, given: Iterable[str], needed: Iterable[str]) -> None:
    """Exit with code 2 and one sentence where a table lacks a column."""
    known = list(given)
    for column in needed:
        if column not in known:
            refuse(f"{path} has no column {column!r}; {did_you_mean(column, known)}")


def refuse(sentence: str) -> NoReturn:
    """Exit with code 2 and a sentence."""
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


class Merit:
    """The hypervolume of some points as a share of the true front's, normalised by its ideal and nadir.

    Args:
        pool: the final costs of every configuration of the table, shape (n, m).
    """

    def __init__(self, pool: Floats) -> None:
        front = pool[non_dominated(pool, np.zeros(len(pool)))]
        self._ideal, self._range = front.min(axis=0), np.ptp(front, axis=0)
        self._reference = np.full(pool.shape[1], REFERENCE)
        self._best = self._volume(front)

    def __call__(self, costs: Floats) -> float:
        """The share for points of shape (k, m): 1 is the true front."""
        return self._volume(costs) / self._best

    def _volume(self, costs: Floats) -> float:
        return hypervolume((costs - self._ideal) / self._range, self._reference)


def show(
    name: str, rows: Mapping[str, Floats], budgets: Sequence[int], p_values: Mapping[str, Sequence[float]]
) -> None:
    """Print a table of mean and spread over seeds; each row has shape (seeds, budgets)."""
    print(f"{name}: hypervolume ratio, mean (standard deviation over seeds)")
    print(f"{'':36}" + "".join(f"{f'@{budget}':>16}" for budget in budgets))
    for label, shares in rows.items():
        cells = (
            f"{mean:.3f} ({spread:.3f})" for mean, spread in zip(shares.mean(0), shares.std(0), strict=True)
        )
        print(f"{label:36}" + "".join(f"{cell:>16}" for cell in cells))
    for label, values in p_values.items():
        print(f"{label:36}" + "".join(f"{value:>16.1e}" for value in values))


def report(name: str, figures: Mapping[str, float], peers: Mapping[str, Mapping[str, float]]) -> None:
    """Print the one JSON object of a benchmark."""
    print(json.dumps({"benchmark": name, "figures": figures, "peers": peers}))


def by_budget(shares: Floats, budgets: Sequence[int]) -> dict[str, float]:
    """The mean over seeds at each budget, as {"hv@520": ...}, from shape (seeds, budgets)."""
    return {
        f"hv@{budget}": round(float(m), 4) for budget, m in zip(budgets, shares.mean(axis=0), strict=True)
    }


def _seeds(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text} repetitions: a comparison needs a whole number from 2 on")
    return int(text)
