"""Kills at random points of simulated searches: what is replayed stands where the uninterrupted one stood.

Purpose: that a run which is killed and gone on with decides as it would have, by every searcher with every
scheduler, screening included, on three workers whose trials crash at times; with the states beside the
journal, without them, and with damaged ones.
Acceptance: no difference in the state of either algorithm, in what waits and what is pending, at 1,000
points.
Limit: the theoretical one, 0.

A searcher whose package is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import report
from raysearch.objectives import Goals
from raysearch.record.journal import VERSION, Event
from raysearch.record.run_record import RunRecord
from raysearch.record.schema import Reader
from raysearch.record.states import FILE_NAME, States
from raysearch.runs.conducting.conductor import Conductor
from raysearch.schedulers import SCHEDULERS, make_scheduler
from raysearch.schedulers.base import Scheduler
from raysearch.schedulers.screening import Screening
from raysearch.search_spaces.plans import TrialPlan, Variant
from raysearch.searchers import SEARCHERS, make_searcher
from raysearch.searchers.base import Choosing, Config, Searcher
from raysearch.searchers.encoding import Parameter
from raysearch.simulation import Problem, simulate
from raysearch.simulation.faults import Faults

EPOCHS = 6
WORKERS = 3
_GOALS = ["maximize accuracy", "minimize latency_ms/cpu"]
GOALS = Goals.parse(_GOALS, ["latency_ms/cpu <= 0.95"], last_step=EPOCHS + 1)
FREE = Goals.parse(_GOALS, last_step=EPOCHS + 1)
SPACE = (
    Parameter(("depth",), "integer", low=1, high=4),
    Parameter(("block", "kind"), "categorical", choices=("basic", "plain", "separable")),
    Parameter(("block", "ratio"), "float", low=0.0, high=0.8, step=0.05),
    Parameter(("lr",), "float", low=1e-4, high=1e-2, log=True),
)
NUMBERS = tuple(parameter for parameter in SPACE if parameter.kind != "categorical")
QUICK: dict[str, dict[str, Any]] = {
    "model_based": {"startup": 4},
    **{name: {"population": 4} for name in ("nsga2", "nsga3", "ctaea", "moead", "smsemoa", "agemoea")},
    "surrogate_assisted": {"initial_designs": 10, "population": 8, "generations": 5, "candidates": ["knn"]},
    "qlognehvi": {"design": 9},
}
RULES = (*SCHEDULERS, "promoting", "screening")


class Memory:
    """A journal in memory, line by line: a kill may come inside of what a step brings, too."""

    lost = False  # no other driver takes it

    def __init__(self, lines: list[str], folder: Path) -> None:
        self.lines, self.path = lines, folder / "journal.jsonl"

    def write(self, event: str, **fields: Any) -> Event:
        """As a Journal's, at a made-up time."""
        line = {"event": event, "time": float(len(self.lines)), **fields}
        self.lines.append(json.dumps(line) + "\n")
        return line

    def together(self) -> AbstractContextManager[None]:
        """Nothing: each line is there at once."""
        return nullcontext()


@dataclass
class Course:
    """An uninterrupted search: its lines; by their number the algorithms' state, and the file of states."""

    lines: list[str] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)


class _Watched(Conductor):
    """Notes the state before each suggestion, when all that was written has been taken in."""

    course: Course

    def ask(self, trial: str) -> Config | None:
        lines, file = len(self.course.lines), self.journal.path.parent / FILE_NAME
        if lines not in self.course.states:
            self.course.states[lines] = _standing(self)
            self.course.files[lines] = file.read_bytes() if file.exists() else b""
        return super().ask(trial)


def courses(trials: int, seed: int, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, Course]]:
    """Searchers with schedulers, uninterrupted; those that are not installed are passed over and named."""
    missing: set[str] = set()
    for searcher, rule in pairs:
        try:
            if searcher not in missing:
                yield searcher, rule, _course(searcher, rule, trials, seed)
        except ImportError as error:
            missing.add(searcher)
            print(f"{searcher} is left out: {error}")


def differences(searcher: str, rule: str, course: Course, kill: int, seed: int, flip: int) -> list[str]:
    """How a search that was killed after so many lines stands otherwise once it is replayed.

    Without states, with them, and with some of which one byte is damaged: ``flip`` says which.
    """
    file = course.files[kill]
    damaged = bytearray(file)
    if damaged:
        damaged[flip % len(file)] ^= 0x11
    ways = {"without states": b"", "with states": file, "with damaged states": bytes(damaged)}
    found = {
        way: _replayed(searcher, rule, course.lines[:kill], content, seed) for way, content in ways.items()
    }
    return [f"{searcher} {rule} {way}, line {kill}" for way, s in found.items() if s != course.states[kill]]


def _course(searcher: str, rule: str, trials: int, seed: int) -> Course:
    course = Course()
    with tempfile.TemporaryDirectory() as folder:
        conductor = _conductor(searcher, rule, trials, seed, course.lines, RunRecord(), Path(folder))
        conductor.course = course
        faults = Faults(seed=seed, crash_rate=0.03, max_crashes=1)
        simulate(
            Problem(_values, EPOCHS + 1, first_step=0),
            conductor,
            conductor,
            workers=WORKERS,
            max_trials=50 * trials,
            faults=faults,
        )
    return course


def _replayed(searcher: str, rule: str, lines: list[str], states: bytes, seed: int) -> str:
    record, read = RunRecord(), Reader(VERSION)
    events = [read(line.encode(), f"line {i}") for i, line in enumerate(lines, start=1)]
    for event in events:
        record.apply(event)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE_NAME).write_bytes(states)
        conductor = _conductor(searcher, rule, 10**6, seed, list(lines), record, Path(folder))
        conductor.replay(events)
        return _standing(conductor)


def _conductor(
    searcher: str, rule: str, limit: int, seed: int, lines: list[str], record: RunRecord, folder: Path
) -> _Watched:
    space = NUMBERS if searcher == "cma_es" else SPACE
    goals = FREE if searcher == "moead" else GOALS
    choice = {"name": searcher, **QUICK.get(searcher, {})}
    asked = make_searcher(choice, space, goals, seed=seed, initial=[], identity=_identity)
    return _Watched(
        Memory(lines, folder),  # type: ignore[arg-type]
        record,
        asked,
        _rule(rule, goals, asked),
        role="trial",
        variant=_variant,
        limit=limit,
        workers=lambda: WORKERS,
        last_step=lambda name: EPOCHS + 1,
        origin=lambda key: searcher,
        states=States(folder, least=30),
    )


def _rule(name: str, goals: Goals, searcher: Searcher) -> Scheduler:
    if name == "promoting":
        return make_scheduler({"name": "successive_halving", "form": "promote"}, goals, max_step=EPOCHS)
    if name != "screening":
        return make_scheduler(name, goals, max_step=EPOCHS)
    inner = make_scheduler("front_halving", goals, max_step=EPOCHS)
    choose = searcher.choose if isinstance(searcher, Choosing) else None
    return Screening(inner, goals, candidates=3, choose=choose)


def _standing(conductor: Conductor) -> str:
    """The state of both algorithms, and what waits and is unfinished, as text; NaN is equal to NaN."""
    trials = conductor.record.trials.values()
    waiting = [trial.name for trial in trials if trial.paused]
    unfinished = [trial.name for trial in trials if trial.outcome is None]
    return json.dumps([conductor.state(), waiting, unfinished])


def _identity(config: Config) -> tuple[str, frozenset[str]]:
    """The ratio matters in separable blocks only."""
    found = _variant(config)
    return found.key, found.active


def _variant(config: Config) -> Variant:
    names = {"depth", "block/kind", "block/ratio", "lr"}
    block = config["block"]
    if block.get("kind", "separable") != "separable":
        names.discard("block/ratio")
        config = {**config, "block": {"kind": block["kind"]}}
    return Variant(config, json.dumps(config, sort_keys=True), frozenset(names), TrialPlan())


def _values(config: Mapping[str, Any], step: int) -> dict[str, float]:
    block = config["block"]
    kind = {"basic": 0.0, "plain": 0.1, "separable": 0.25}[block.get("kind", "separable")]
    ratio = block.get("ratio", 0.4)
    if step == 0:
        return {
            "latency_ms/cpu": config["depth"] / 4 * (1 - ratio / 2) * (1 - kind),
            "accuracy": 0.1 + kind / 9,
        }
    floor = 0.9 - 0.3 / config["depth"] - 0.2 * ratio - 0.05 * abs(math.log10(config["lr"]) + 3) - kind / 5
    return {"accuracy": floor * step / (0.7 + step)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=1000, help="kills in all (default 1000)")
    parser.add_argument("--trials", type=int, default=40, help="trials of a search (default 40)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    pairs = list(courses(given.trials, 1, product(SEARCHERS, RULES)))
    each = math.ceil(given.points / len(pairs))
    differing: list[str] = []
    points = 0
    for searcher, rule, course in pairs:
        kills = rng.choice(sorted(course.states), size=min(each, len(course.states)), replace=False)
        found = [
            d
            for kill in kills.tolist()
            for d in differences(searcher, rule, course, kill, 1, int(rng.integers(2**31)))
        ]
        points += len(kills)
        differing += found
        print(
            f"{searcher:20} {rule:20} {len(kills):4} kills in {len(course.lines)} lines: {len(found)} differ"
        )
    print(f"{points} kills of {len(pairs)} pairs, each replayed in three ways: {len(differing)} differ")
    for line in differing[:20]:
        print(line)
    if given.json:
        report("kill_points", {"points": points, "pairs": len(pairs), "differing": len(differing)}, {})


if __name__ == "__main__":
    main()
