"""What a search loses where candidates' latencies are predicted: its final front against full measuring's.

Purpose: whether the rule by which a prediction takes a measurement's place (predictor/sparing.py) leaves the
final front as it is, and how many measurements it spares. A search of 160 random candidates on a slow device,
where whatever is sure is predicted: of every four candidates one trains, that which adds most hypervolume to
those that train, by its latency and its accuracy after 12 epochs (which stands for a metric before training),
and is measured before it does. Only those may be on the front, with their accuracy after 200 epochs.

"ratio" is the front's hypervolume with predictions by that of full measuring of the same candidates; "spared"
the share of all candidates that were never measured, three quarters at most; "error" the median error of what
was predicted, "holds" the share of it whose interval holds the measurement. A figure is the mean over seeds.

Acceptance: a mean ratio of .99 or more, and half of the measurements spared.
Limit: three quarters spared at a ratio of 1. "noisy" is full measuring with a normal noise of 2 %, what any
other measurement would have brought; "blind" takes one latency for all candidates, what choosing by latency
is worth.

Table: nas_bench_201 (--data FILE.parquet with op_01 ... op_23, accuracy and latency columns; latencies are
clipped at their .1 percentile).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.cells import EDGES, operators
from benchmarks.common import Floats, Merit, arguments, data_file, read_table, report
from raysearch.backends.predictor import features
from raysearch.backends.predictor.sparing import TOLERANCE, Sparing, Sure
from raysearch.objectives import Goals
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.screening import Screening

NAME = "spared_measurements"
EARLY, LATE = "c10_valid_e12", "c10_test_e200"
CANDIDATES, OF = 160, 4
GOALS = Goals.parse(["maximize accuracy", "minimize latency"], last_step=1)
NOISE = 0.02

Say = Callable[[int], Sure | None]
"""The latency of a network by its place; None where it is measured."""


@dataclass(frozen=True)
class Searched:
    """What a search did.

    Attributes:
        trained: places of the candidates that trained.
        errors: relative, of what was predicted.
        held: of that, whether the interval holds the measurement.
        spared: the share of the candidates that was never measured.
    """

    trained: list[int]
    errors: list[float]
    held: list[bool]
    spared: float


class Device:
    """A device's recorded networks.

    Args:
        table: of n networks.
        column: of the latencies.
        models: their features.
    """

    def __init__(self, table: pd.DataFrame, column: str, models: Sequence[Mapping[str, float]]) -> None:
        latency = table[column].to_numpy(dtype=np.float64)
        self.latency = latency.clip(min=np.percentile(latency, 0.1))
        self.early = 100 - table[EARLY].to_numpy(dtype=np.float64)
        self.costs = np.column_stack([100 - table[LATE].to_numpy(dtype=np.float64), self.latency])
        self.models, self._merit = models, Merit(self.costs)
        self._early_merit = Merit(np.column_stack([self.early, self.latency]))

    def merit(self, found: Searched) -> float:
        """The hypervolume of what trained, as a share of the whole table's."""
        return self._merit(self.costs[found.trained])

    def search(self, seed: int, said: Say) -> Searched:
        """A search whose candidates have the latencies that are said, or where none is are measured."""
        drawn = np.random.default_rng(seed).permutation(len(self.latency))[:CANDIDATES]
        measured, costs, found = set[int](), dict[str, list[float]](), Searched([], [], [], 0.0)

        def choose(waiting: Sequence[str]) -> str:
            """The candidate that adds most to those that train."""
            known = [[self.early[place], self.latency[place]] for place in found.trained]
            return max(waiting, key=lambda name: self._early_merit(np.array([*known, costs[name]])))

        screening = Screening(FullTraining(), GOALS, candidates=OF, choose=choose)
        for place in map(int, drawn):
            true, sure = float(self.latency[place]), said(place)
            if sure is None:
                measured.add(place)
            else:
                found.errors.append(abs(sure.mean / true - 1))
                found.held.append(sure.low <= true <= sure.high)
            costs[str(place)] = [self.early[place], true if sure is None else sure.mean]
            screening.decide(str(place), 0, {"latency": costs[str(place)][1]})
            while (chosen := screening.promote()) is not None:
                found.trained.append(int(chosen))
        return replace(found, spared=1 - len(measured | set(found.trained)) / CANDIDATES)

    def noisy(self, seed: int) -> Searched:
        """Full measuring, another time."""
        rng = np.random.default_rng([seed, 1])
        factors = np.exp(NOISE * rng.standard_normal(len(self.latency)))
        again = (self.latency * factors).tolist()
        return self.search(seed, lambda place: Sure(again[place], again[place], again[place], 0))

    def sparing(self, seed: int, tolerance: float = TOLERANCE) -> Searched:
        """A search that predicts whatever is sure."""
        rule = Sparing(tolerance=tolerance)

        def said(place: int) -> Sure | None:
            sure = rule.sure(self.models[place])
            if sure is None:
                rule.learn(self.models[place], float(self.latency[place]))
            return sure

        return self.search(seed, said)


def measured(place: int) -> Sure | None:
    """Full measuring."""
    return None


def blind(place: int) -> Sure | None:
    """One latency for all."""
    return Sure(1.0, 1.0, 1.0, 0)


def devices(path: Path, rows: int | None = None) -> dict[str, Device]:
    """The devices by name of a table, or of so many of its first rows."""
    table = read_table(path, (*EDGES, EARLY, LATE))[:rows]
    cells = table[list(EDGES)].astype(str).itertuples(index=False, name=None)
    models = [features(operators(cell)) for cell in cells]
    columns = [name for name in table.columns if name.startswith("latency_ms/")]
    return {column.partition("/")[2]: Device(table, column, models) for column in columns}


def main(argv: list[str] | None = None) -> None:
    """Search, print the table and, with --json, the figures."""
    options = arguments(__doc__, seeds=5).parse_args(argv)
    known = devices(data_file(options.data, "nas_bench_201/nas_bench_201.parquet"))
    print(f"{NAME}: {CANDIDATES} candidates, one in {OF} trains, intervals within {TOLERANCE:.0%}")
    columns = ("ratio", "noisy", "blind", "spared", "error", "holds")
    print(f"{'device':24}" + "".join(f"{column:>10}" for column in columns))
    rows = []
    for name, device in known.items():
        rows.append(_mean([_row(device, seed) for seed in range(options.seeds)]))
        print(f"{name:24}" + "".join(f"{figure:>10.3f}" for figure in rows[-1]), flush=True)
    means = dict(zip(columns, _mean(rows).round(4).tolist(), strict=True))
    print(f"{'mean':24}" + "".join(f"{figure:>10.3f}" for figure in means.values()))
    if options.json:
        figures = {"lowest ratio": round(float(np.min(rows, axis=0)[0]), 4), **means}
        peers = {name: {"ratio": figures.pop(name)} for name in ("noisy", "blind")}
        report(NAME, figures, peers)


def _mean(rows: Sequence[Floats]) -> Floats:
    """Of what is known in each column; NaN where nothing is."""
    known = np.isfinite(rows)
    count = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    mean: Floats = np.where(known, rows, 0.0).sum(axis=0) / count
    return mean


def _row(device: Device, seed: int) -> Floats:
    """One search of each kind; error and coverage are NaN where nothing was predicted."""
    full, found = device.merit(device.search(seed, measured)), device.sparing(seed)
    others = [found, device.noisy(seed), device.search(seed, blind)]
    ratios = [device.merit(each) / full for each in others]
    told = [np.median(found.errors), np.mean(found.held)] if found.errors else [np.nan, np.nan]
    return np.array([*ratios, found.spared, *told])


if __name__ == "__main__":
    main()
