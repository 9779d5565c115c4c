"""The ready families of architectures, each searched on a small task by the public API.

Purpose: whoever has images, signals or numbers finds a family that searches to a front of files as the
residual networks do, in a time of the same order. Each family chooses its architecture, pruning ratios, bits
and learning rate in the same number of trials; images and flattened images are the digits, signals those of
signals.py. Every figure of the front and of the trials behind it is found again from the files, by code that
shares nothing with raysearch (own_models/check.py).

"seconds" are those of the whole search, references included; "relative" to the residual networks' of the
same run. "hv" is the hypervolume of validation error and size under 20 % and between 1 kB and 1 MB on a
logarithmic scale, as a share: it compares families on the same task only.

Acceptance: in each family four trials or more finish, no figure is contradicted, and the most accurate
network of the front is within .03 of the residual networks' (of signals: above .9).

Table: none.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ray import tune

import raysearch as rs
from benchmarks.common import refuse, report
from benchmarks.own_models.case import Case, accuracy
from benchmarks.own_models.check import TARGET, examine
from benchmarks.signals import signal_task
from raysearch import search_spaces as spaces
from raysearch.basics.spelling import did_you_mean
from raysearch.pareto import hypervolume

NAME = "families"
OURS = "resnet"
FAMILIES = (OURS, "mobilenet", "vit", "conv1d", "mlp")
WORST_ERROR, SMALLEST_MB, LARGEST_MB = 0.2, 1e-3, 1.0


@dataclass(frozen=True)
class Row:
    """What came of a family's search.

    Attributes:
        seconds: of all of it.
        finished: trials that reached their end.
        front: variants of the front.
        accuracy: the front's best on the validation split.
        smallest_mb: the front's smallest network with at least .9 of accuracy.
        hv: see the module.
        wrong: figures that the files contradict.
    """

    seconds: float
    finished: int
    front: int
    accuracy: float
    smallest_mb: float
    hv: float
    wrong: int


def searched(family: str, trials: int, epochs: int, folder: Path) -> Row:
    """Search one family, and find its figures again."""
    task = signal_task() if family == "conv1d" else rs.tasks.digits()
    space: dict[str, Any] = {
        "architecture": getattr(spaces, family)(),
        "pruning": spaces.channel_pruning(),
        "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
        "training": {"lr": tune.loguniform(1e-3, 1e-2)},
    }
    objectives = ["maximize accuracy", "minimize size_mb", "minimize macs"]
    start = time.monotonic()
    rs.Study(task, space, objectives, [], [TARGET], epochs=epochs).run(trials, folder=folder, progress=False)
    seconds = time.monotonic() - start
    found = examine(Case(task, objectives[0], accuracy), folder)
    for wrong in found.wrong:
        print(f"{family}: {wrong}", flush=True)
    front = pd.read_csv(folder / "front.csv")
    good = front[front["accuracy"] >= 0.9]["size_mb"]
    return Row(
        round(seconds, 1),
        found.finished,
        found.front,
        round(float(front["accuracy"].max()), 4),
        float(good.min()) if len(good) else float("nan"),
        round(volume(front), 4),
        len(found.wrong),
    )


def volume(front: pd.DataFrame) -> float:
    """The share of the rectangle of errors and sizes that a front dominates."""
    sizes = np.log(front["size_mb"] / SMALLEST_MB) / np.log(LARGEST_MB / SMALLEST_MB)
    costs = np.column_stack([(1 - front["accuracy"]) / WORST_ERROR, sizes.clip(0)])
    return float(hypervolume(costs, np.ones(2)))


def main(argv: list[str] | None = None) -> None:
    """Search, print the table and, with --json, the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; all if left out"
    )
    parser.add_argument("--trials", type=int, default=24, help="of each family (default 24)")
    parser.add_argument("--epochs", type=int, default=6, help="of each trial (default 6)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    given = parser.parse_args(argv)
    for name in given.names:
        if name not in FAMILIES:
            refuse(f"there is no family {name!r}; {did_you_mean(name, FAMILIES)}")
    rows: dict[str, Row] = {}
    print(
        f"{'family':12}{'seconds':>9}{'relative':>9}{'finished':>9}{'front':>6}{'accuracy':>9}{'mb':>8}{'hv':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(given.names or FAMILIES):
            row = rows[name] = searched(name, given.trials, given.epochs, Path(folder) / name)
            relative = row.seconds / rows[OURS].seconds if OURS in rows else float("nan")
            print(
                f"{name:12}{row.seconds:>9.1f}{relative:>9.2f}{row.finished:>9}{row.front:>6}"
                f"{row.accuracy:>9.4f}{row.smallest_mb:>8.4f}{row.hv:>7.3f}",
                flush=True,
            )
    print(f"{sum(row.wrong for row in rows.values())} figures contradicted by the files")
    if given.json:
        figures = {f"{name}/{key}": value for name, row in rows.items() for key, value in asdict(row).items()}
        report(NAME, figures, {})


if __name__ == "__main__":
    main()
