"""A small run without a cluster: a conductor over a made-up problem, and workers that may be killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quick_searchers import quick_searcher

from raysearch.objectives import Goals
from raysearch.record import journal
from raysearch.record.journal import Journal
from raysearch.record.run_record import RunRecord
from raysearch.record.states import States
from raysearch.runs.conducting.conductor import Conductor
from raysearch.schedulers import make_scheduler
from raysearch.schedulers.base import Decision
from raysearch.schedulers.screening import Screening
from raysearch.search_spaces.plans import TrialPlan, Variant
from raysearch.searchers.base import Choosing
from raysearch.searchers.encoding import Parameter

EPOCHS = 3
GOALS = Goals.parse(["minimize error", "minimize size_mb"], last_step=EPOCHS + 1)
SPACE = (
    Parameter(("a", "x"), "float", 0.0, 1.0),
    Parameter(("a", "y"), "integer", 1, 8),
    Parameter(("z",), "float", 0.0, 0.9, step=0.1),
)
INITIAL = [{"a": {"x": 0.5, "y": 8}, "z": 0.1}, {"a": {"x": 0.25, "y": 2}, "z": 0.3}]


def variant(config: dict[str, Any]) -> Variant:
    """The parameter z matters where y is above 4 only."""
    names = {"a/x", "a/y"} | ({"z"} if config["a"]["y"] > 4 else set())
    canonical = {key: value for key, value in config.items() if key == "a" or "z" in names}
    return Variant(canonical, json.dumps(canonical, sort_keys=True), frozenset(names), TrialPlan())


def identity(config: dict[str, Any]) -> tuple[str, frozenset[str]]:
    """Of a config, the key of its variant and the parameters that matter."""
    found = variant(config)
    return found.key, found.active


def make_conductor(
    folder: Path,
    searcher: str,
    seed: int,
    limit: int,
    scheduler: Any = "successive_halving",
    goals: Goals = GOALS,
    states: States | None = None,
    screen: int = 1,
) -> tuple[Conductor, list[dict[str, Any]]]:
    """A conductor of what a folder's journal holds, and its events, which are to be replayed."""
    record = RunRecord()
    events = list(journal.read(folder)) if (folder / journal.FILE_NAME).exists() else []
    for event in events:
        record.apply(event)
    asked = quick_searcher(searcher, SPACE, goals, seed=seed, initial=INITIAL, identity=identity)
    deciding: Any = make_scheduler(scheduler, goals, max_step=EPOCHS)
    if screen > 1:
        choose = asked.choose if isinstance(asked, Choosing) else None
        deciding = Screening(deciding, goals, candidates=screen, choose=choose)
    conductor = Conductor(
        Journal(folder),
        record,
        asked,
        deciding,
        role="trial",
        variant=variant,
        limit=limit,
        workers=lambda: 3,
        last_step=lambda name: EPOCHS + 1,
        origin=lambda key: searcher,
        states=states,
    )
    return conductor, events


def work(conductor: Conductor, trials: int, prefix: str = "tune") -> None:
    """Three workers take turns, a step each; killed once so many trials have been suggested."""
    running: dict[str, dict[str, Any]] = {}
    steps: dict[str, int] = {}
    count = 0
    while True:
        while (config := conductor.ask(f"{prefix}{count}")) is not None:
            running[f"{prefix}{count}"], steps[f"{prefix}{count}"] = config, 0
            count += 1
        if not running or (len(conductor.record.trials) >= trials and len(running) == 3):
            return conductor.journal.close()
        for name in list(running):
            config, step = running[name], steps[name]
            if config["trial"].endswith("5"):
                conductor.fail(name, "it broke")
                del running[name]
                continue
            values = sizes(config) if step == 0 else error(config, step)
            steps[name] += 1
            if conductor.decide(name, step, values) is Decision.STOP or step == EPOCHS + 1:
                del running[name]


def error(config: dict[str, Any], step: int) -> dict[str, float]:
    """What an epoch, and the exported model, reports."""
    return {"error": (1 - config["a"]["x"]) / step + 1 / config["a"]["y"] + config.get("z", 0.5)}


def sizes(config: dict[str, Any]) -> dict[str, float]:
    """What step 0 reports."""
    return {
        "size_mb": config["a"]["y"] + config["a"]["x"],
        "macs": 20 + config["a"]["y"] - 9 * config["a"]["x"],
    }
