"""What a run's journal and the states beside it cost: written, read again, replayed, and reported.

Purpose: that a run of days is gone on with in seconds. Made up are the trials' figures alone; the lines are
those of a Conductor that a simulated cluster of four workers drives.
Acceptance: 100,000 reports are read and replayed within 10 s, 3,000 trials of the model-based searcher within
15 s, and reported within 20 s; journal and states take less than 2 % of the driver's processor time at 3,000
trials; twice the reports take at most 2.2 times the memory.
Limit: that of reading the lines as JSON, which is shown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from benchmarks import driver_cost
from benchmarks.common import report
from raysearch.objectives import Goals
from raysearch.record import journal
from raysearch.record.journal import FILE_NAME, Journal
from raysearch.record.results import RunResult
from raysearch.record.run_record import RunRecord
from raysearch.record.states import States
from raysearch.record.writing import OneFile, Writer
from raysearch.reporting.html import write_report
from raysearch.runs.conducting.conductor import Conductor
from raysearch.schedulers import make_scheduler
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.tune import TuneScheduler
from raysearch.search_spaces.plans import TrialPlan, Variant
from raysearch.searchers import make_searcher
from raysearch.searchers.base import Config
from raysearch.searchers.encoding import Parameter
from raysearch.searchers.random import RandomSearch
from raysearch.searchers.tune import TuneSearcher
from raysearch.simulation import Problem, simulate

EPOCHS = 8
TARGET = "onnxruntime-cpu"
STUDY = {
    "task": {"name": "digits"},
    "space": {"training": {"lr": {"loguniform": [1e-4, 1e-1]}}},
    "parent": {},
    "objectives": ["maximize accuracy", f"minimize latency_ms/{TARGET}", "minimize size_mb"],
    "constraints": ["size_mb <= 0.95 parent"],
    "targets": [TARGET],
    "search": {"epochs": EPOCHS, "searcher": "model_based", "scheduler": "full_training", "seed": 0},
}
PARENT = {"accuracy": 0.9, f"latency_ms/{TARGET}": 1.0, "size_mb": 1.0}
GOALS = Goals.parse(STUDY["objectives"], STUDY["constraints"], EPOCHS + 1, {0: PARENT, EPOCHS + 1: PARENT})
SPACE = (
    *(Parameter(("pruning", f"layer{i}"), "float", 0.0, 0.9, step=0.05) for i in range(8)),
    *(Parameter(("bits", f"layer{i}"), "categorical", choices=(4, 8, 32)) for i in range(8)),
    Parameter(("training", "lr"), "float", 1e-4, 1e-1, log=True),
)


def made(folder: Path, trials: int, *, durable: bool = False) -> dict[str, float]:
    """Write the run of so many trials into a folder; returns the processor seconds that each part took.

    The configs are drawn at random, for what replays them asks no model. ``durable`` waits for the disk.
    """
    spent: dict[str, float] = {}
    keep = Journal(folder) if durable else _Hasty(folder)
    record = RunRecord()
    for event in _beginning():
        record.apply(keep.write(**event))
    states = States(folder)
    keep.write = _timed(keep.write, "journal", spent)  # type: ignore[method-assign]
    conductor = _conductor(folder, record, "random", keep, trials, states)
    states.write = _timed(states.write, "states", spent)  # type: ignore[method-assign]
    conductor.state = _timed(conductor.state, "states", spent)  # type: ignore[method-assign]
    conductor._history.add = _timed(conductor._history.add, "states", spent)  # type: ignore[method-assign]
    simulate(Problem(_values, EPOCHS + 1, first_step=0), conductor, conductor, workers=4, max_trials=trials)
    keep.write("session", action="finish", num_trials=trials, max_minutes=None)
    keep.close()
    return spent


def replayed(folder: Path, searcher: str, *, with_states: bool) -> float:
    """The processor seconds that a driver takes until it stands where the last one stood."""
    begun = time.process_time()
    record, events = RunRecord(), list(journal.read(folder))
    for event in events:
        record.apply(event)
    states = States(folder if with_states else None)
    _conductor(folder, record, searcher, _Hasty(folder / "again"), 10**6, states).replay(events)
    return time.process_time() - begun


def figures(trials: int, reports: int, driver_trials: int) -> Iterator[tuple[str, float]]:
    """All figures by name, as they are measured."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "durable"
        spent = made(folder, trials, durable=True)
        yield f"journal_ms@{trials}", 1e3 * spent["journal"] / trials
        yield f"states_ms@{trials}", 1e3 * spent["states"] / trials
        if driver_trials:
            ours, own = _driver_ms(driver_trials), 1e3 * sum(spent.values()) / trials
            yield f"driver_ms@{driver_trials}", ours
            yield f"share@{trials}", own / (ours + own)
        yield f"states_mb@{trials}", sum(f.stat().st_size for f in folder.glob("states*")) / 1e6
        yield f"journal_mb@{trials}", (folder / FILE_NAME).stat().st_size / 1e6
        for name in ("model_based", "nsga2"):
            yield f"{name}_s@{trials}", replayed(folder, name, with_states=False)
        yield f"report_s@{trials}", _seconds(lambda: _reported(folder))
        large = Path(place) / "large"
        made(large, reports // (EPOCHS + 2))
        yield f"json_s@{reports}", _seconds(lambda: _as_json(large))
        yield f"random_s@{reports}", replayed(large, "random", with_states=False)
        yield f"random_with_states_s@{reports}", replayed(large, "random", with_states=True)
        yield f"nsga2_s@{reports}", replayed(large, "nsga2", with_states=False)
        yield "memory_growth", _growth(Path(place), reports)


class _NoOp(tune.Trainable):
    """Reports as often as a trial of the runs above, at once."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begins."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The worker takes the next trial."""
        self.config, self._left = new_config, EPOCHS + 2
        return True

    def step(self) -> dict[str, Any]:
        """Figures that are no measured ones."""
        self._left -= 1
        return {**PARENT, "done": not self._left}


def _driver_ms(trials: int) -> float:
    """The driver's processor milliseconds a trial of as many reports, without a journal, on Ray."""
    free = Goals.parse(STUDY["objectives"], last_step=EPOCHS + 1)
    searcher = RandomSearch(SPACE, free)
    with driver_cost.cluster(), tempfile.TemporaryDirectory() as storage, driver_cost.lean():
        tuner = tune.Tuner(
            tune.with_resources(_NoOp, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                num_samples=trials,
                reuse_actors=True,
                search_alg=TuneSearcher(searcher, last_step=EPOCHS + 1),
                scheduler=TuneScheduler(FullTraining()),
            ),
            run_config=tune.RunConfig(
                storage_path=storage,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        return 1e3 * _seconds(tuner.fit) / trials


class _Hasty(Journal):
    """A journal that does not wait for the disk."""

    def _begun(self) -> Writer:
        assert isinstance(self.folder, Path)
        assert self._file is not None
        return _Unsynced(self.folder, self._file, self._lease.check)


class _Unsynced(OneFile):
    def _append(self, lines: bytes) -> None:
        self._file.write(lines)


def _conductor(
    folder: Path, record: RunRecord, searcher: str, keep: Journal, trials: int, states: States
) -> Conductor:
    return Conductor(
        keep,
        record,
        make_searcher(searcher, SPACE, GOALS, seed=0, initial=[], identity=_identity),
        make_scheduler("successive_halving", GOALS, max_step=EPOCHS)
        if searcher == "nsga2"
        else make_scheduler("full_training", GOALS, max_step=EPOCHS),
        role="trial",
        variant=_variant,
        limit=trials,
        workers=lambda: 4,
        last_step=lambda name: EPOCHS + 1,
        origin=lambda key: searcher,
        states=states,
    )


def _variant(config: Config) -> Variant:
    names = frozenset(str(parameter) for parameter in SPACE)
    return Variant(config, json.dumps(config, sort_keys=True), names, TrialPlan())


def _identity(config: Config) -> tuple[str, frozenset[str]]:
    found = _variant(config)
    return found.key, found.active


def _values(config: Mapping[str, Any], step: int) -> dict[str, float]:
    pruned = float(np.mean(list(config["pruning"].values())))
    bits = float(np.mean(list(config["bits"].values()))) / 32
    if step == 0:
        size = (1 - pruned) * bits
        return {
            f"latency_ms/{TARGET}": 0.2 + 0.8 * (1 - pruned),
            "size_mb": size,
            "macs": 1e6 * (1 - pruned),
            "params": 1e5 * (1 - pruned),
            "file_mb": 1.2 * size,
            "accuracy": 0.1,
        }
    best = 0.95 - 0.3 * pruned**2 - 0.02 / bits / 8 - 0.02 * abs(np.log10(config["training"]["lr"]) + 2.5)
    return {"accuracy": float(best * step / (0.5 + step)), "loss": 1.0 / (1 + step)}


def _beginning() -> Iterator[dict[str, Any]]:
    yield {"event": "run", "version": journal.VERSION, "study": STUDY}
    yield {"event": "session", "action": "start", "num_trials": None, "max_minutes": None}
    yield {
        "event": "suggestion",
        "trial": "parent",
        "role": "reference",
        "config": {},
        "key": "parent",
        "origin": "reference",
    }
    for step in (0, EPOCHS + 1):
        yield {
            "event": "report",
            "trial": "parent",
            "step": step,
            "values": PARENT,
            "measurements": [],
            "notes": [],
            "decision": "continue",
        }
    yield {"event": "end", "trial": "parent", "outcome": "finished", "reason": ""}


def _reported(folder: Path) -> None:
    RunResult(folder).write_tables()
    write_report(folder)


def _as_json(folder: Path) -> None:
    with (folder / FILE_NAME).open() as file:
        for line in file:
            json.loads(line)


def _growth(place: Path, reports: int) -> float:
    """How many times the memory twice the reports take, the process itself left out."""
    used = []
    for count in (100, reports // 2):
        made(place / f"{count}", count // (EPOCHS + 2))
    for folder in (place / "100", place / f"{reports // 2}", place / "large"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            used.append(pool.apply(_peak, (folder,)))
    return (used[2] - used[0]) / (used[1] - used[0])


def _peak(folder: Path) -> int:
    """The most memory of a process of its own, in kB: what getrusage says includes its parent's."""
    replayed(folder, "random", with_states=False)
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _timed(work: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **keywords: Any) -> Any:
        begun = time.process_time()
        try:
            return work(*arguments, **keywords)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - begun

    return timed


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=3000, help="of the smaller run (default 3000)")
    parser.add_argument("--reports", type=int, default=100_000, help="of the larger one (default 100,000)")
    parser.add_argument(
        "--driver-trials",
        type=int,
        default=1000,
        help="no-op trials on Ray that tell what a driver takes (default 1000); 0: no share is told",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    given = parser.parse_args()
    found: dict[str, float] = {}
    for name, value in figures(given.trials, given.reports, given.driver_trials):
        found[name] = round(value, 4)
        print(f"{name:32} {value:10.3f}", flush=True)
    if given.json:
        report("replay", found, {})


if __name__ == "__main__":
    main()
