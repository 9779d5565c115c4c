"""Records whole learning curves of compression trials, as benchmarks/recorded/NAME.parquet.

    python -m benchmarks.recorded.record digits --runs runs/recorded
    python -m benchmarks.recorded.record cifar10 --runs runs/recorded --data DATA
    python -m benchmarks.recorded.record cifar10 --runs runs/more --data DATA --seed 2 --add

Half of the trials are drawn at random, after what an engineer would try by hand; half are what the default
searcher proposes, so that the good part of the space is known as well. Nothing is stopped early. A row is a
trial: ``config`` (canonical, JSON), ``origin``, and at each step the seconds it took (``seconds@3``) and the
accuracy (``accuracy@0`` before training, ``accuracy@1`` ..., the file's at the last step); latency, size and
MACs once. The parent and the parent trained on are rows too. A run that was interrupted is gone on with.
``--add`` adds the trials of another machine: without the seconds and the latency, which were measured on
another processor, and without the accuracy of the file there.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.recorded.by_hand import recipe
from benchmarks.recorded.studies import EPOCHS, TARGET, study_of
from raysearch.record.journal import read
from raysearch.record.results import RunResult

BY_HAND = 12
_ONCE = (f"latency_ms/{TARGET}", "size_mb", "macs", "params", "file_mb")


def main(argv: list[str] | None = None) -> None:
    """Run both halves, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(EPOCHS))
    parser.add_argument("--data", type=Path, help="the folder of all tables, or CIFAR-10's archive")
    parser.add_argument("--runs", type=Path, default=Path("runs/recorded"), help="where the runs lie")
    parser.add_argument("--trials", type=int, default=300, help="in all (default 300)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--add", action="store_true", help="to the table that is there")
    options = parser.parse_args(argv)
    plain = study_of(options.name, options.data)
    by_hand = list(islice(recipe(plain.space, plain.parent), BY_HAND))
    halves: dict[str, dict[str, Any]] = {"random": {"evaluate_first": by_hand}, "model_based": {}}
    rows = []
    for searcher, extra in halves.items():
        method = {"searcher": searcher, "scheduler": "full_training", "seed": options.seed, **extra}
        made = study_of(options.name, options.data, **method)
        folder = options.runs / f"{options.name}-{searcher}"
        made.run(num_trials=options.trials // 2, folder=folder, progress=False)
        rows += rows_of(folder, references=searcher == "random")
    path = Path(__file__).with_name(f"{options.name}.parquet")
    table = pd.DataFrame(rows)
    if options.add:
        table = added(pd.read_parquet(path), table, EPOCHS[options.name] + 1)
    table = table.drop_duplicates("config")
    table.to_parquet(path, index=False)
    print(f"{path}: {len(table)} trials")


def added(table: pd.DataFrame, more: pd.DataFrame, last_step: int) -> pd.DataFrame:
    """A table with the trials of another machine, without what was measured there."""
    measured = [f"latency_ms/{TARGET}", f"accuracy@{last_step}"]
    measured += [column for column in more.columns if column.startswith("seconds@")]
    trials = more[~more["config"].str.startswith("parent")].drop(columns=measured)
    return pd.concat([table, trials], ignore_index=True)


def rows_of(folder: Path, *, references: bool = True) -> list[dict[str, Any]]:
    """The finished trials of a run, a row each.

    Args:
        folder: the run's.
        references: whether its parent and the parent trained on are among them.
    """
    result = RunResult(folder)
    arrived: dict[str, dict[int, float]] = {}
    for event in read(folder):
        if event["event"] == "suggestion":
            arrived[event["trial"]] = {-1: event["time"]}
        elif event["event"] == "report":
            arrived[event["trial"]][event["step"]] = event["time"]
    rows = []
    for trial in result.record.trials.values():
        wanted = trial.role == "trial" or (references and trial.name in ("parent", "parent-longer"))
        if not wanted or trial.outcome != "finished":
            continue
        row: dict[str, Any] = {"trial": trial.name, "origin": trial.origin}
        row["config"] = json.dumps(trial.config, sort_keys=True) if trial.role == "trial" else trial.name
        row |= {metric: trial.reports[0][metric] for metric in _ONCE}
        previous = arrived[trial.name][-1]
        for step, values in sorted(trial.reports.items()):
            row[f"accuracy@{step}"] = values["accuracy"]
            row[f"seconds@{step}"] = round(arrived[trial.name][step] - previous, 3)
            previous = arrived[trial.name][step]
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
