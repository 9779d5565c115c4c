"""Nothing is lost: a search whose processes are killed tells the story of one that is left alone.

A search on digits is run once undisturbed. Then it is run again while its driver is killed (SIGKILL) and the
run resumed, and while its workers and its measuring processes, their front among them, are killed, each by
pid and at a random instant of the journal. All goals are free of clocks (accuracy, size).

Acceptance: with one worker the journals are the same, line for line, without times and what is measured. With
two every trial is complete or was stopped for a reason, and no report, suggestion or end stands twice. No
process is left behind by a driver that was killed.

    python -m benchmarks.chaos --rounds 3 [--workers 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.metrics import find
from raysearch.record import journal
from raysearch.record.journal import FILE_NAME, Event
from raysearch.record.run_record import RunRecord, TrialRecord

STUDY = """
task: digits
parent:
  architecture:
    family: resnet
    stages: 1
    stem: {{width: 8}}
    stage1: {{depth: 1, width: 8, kernel: 3, block: basic}}
  epochs: 2
space:
  architecture: {{resnet: {{stages: 1, depth: [1, 2], width: [8, 16]}}}}
  pruning: {{channel_pruning: {{max_ratio: 0.5, multiple: 4}}}}
  bits: {{bit_widths: {{weights: [4, 8, 32], activations: [8, 32]}}}}
  training: {{lr: {{loguniform: [1e-3, 1e-2]}}}}
objectives: [maximize accuracy, minimize size_mb]
search: {{num_trials: {trials}, epochs: 2, workers: {workers}, screen: 1, seed: {seed}}}
"""
# What the processes are called that may be killed.
WORKER, MEASURING = ("ray::CompressionTrial",), ("ray::MeasuringProcess", "ray::Devices")
_GONE_S = 60.0  # for what a dead driver has started to go
_LIMIT_S = 1800.0  # for a whole run


@dataclass(frozen=True)
class Kills:
    """How many processes of each kind are killed in a run."""

    drivers: int = 5
    workers: int = 10
    measuring: int = 3


@dataclass
class Outcome:
    """What a disturbed run has come to.

    Attributes:
        killed: pids that were killed, by kind.
        orphans: command lines of processes that a killed driver left behind.
        output: of the last driver.
        code: its exit code.
    """

    killed: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    output: str = ""
    code: int | None = None


def start(*arguments: str) -> subprocess.Popen[str]:
    """A driver."""
    command = [sys.executable, "-m", "raysearch.cli", *arguments, "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def undisturbed(study: Path, folder: Path) -> None:
    """Run a study to its end."""
    driver = start("run", str(study), "--out", str(folder))
    output, _ = driver.communicate(timeout=_LIMIT_S)
    if driver.returncode:
        raise RuntimeError(f"the undisturbed run failed: {output[-2000:]}")


def disturbed(study: Path, folder: Path, kills: Kills, length: int, seed: int) -> Outcome:
    """Run a study to its end while its processes are killed.

    Args:
        study: its file.
        folder: of the run.
        kills: how many.
        length: of the undisturbed run's story: the instants are drawn from it.
        seed: of the instants.
    """
    draw, outcome, started = random.Random(seed), Outcome(), {}
    kinds = ["driver"] * kills.drivers + ["worker"] * kills.workers + ["measuring"] * kills.measuring
    plan = sorted((draw.uniform(0, 0.95 * length), kind) for kind in kinds)
    driver, end = start("run", str(study), "--out", str(folder)), time.monotonic() + _LIMIT_S
    while time.monotonic() < end and driver.poll() is None:
        time.sleep(0.05)
        if not plan or lines(folder) < plan[0][0]:
            continue
        time.sleep(draw.uniform(0, 0.5))
        if plan[0][1] == "driver":
            started |= descendants(driver.pid)
            driver.kill()
            driver.communicate()
            driver = start("run", str(study), "--out", str(folder))
        elif not _killed(driver.pid, WORKER if plan[0][1] == "worker" else MEASURING, draw):
            continue  # there is none at the moment
        outcome.killed[plan.pop(0)[1]] += 1
    if driver.poll() is None:
        driver.kill()
    outcome.output, _ = driver.communicate()
    outcome.code = driver.returncode
    outcome.orphans = left_of(started)
    return outcome


def _killed(driver: int, names: tuple[str, ...], draw: random.Random) -> bool:
    found = [pid for pid, (_, command) in descendants(driver).items() if command.startswith(names)]
    if found:
        with suppress(ProcessLookupError):
            os.kill(draw.choice(found), signal.SIGKILL)
    return bool(found)


def descendants(pid: int) -> dict[int, tuple[str, str]]:
    """The processes below one, by pid, with when each began and its command line."""
    parents: dict[int, list[int]] = {}
    known: dict[int, tuple[str, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # it has just ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
            if fields[0] != "Z":
                known[int(folder.name)] = fields[19], command.strip()
    below, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        below += children
        left += children
    return {child: known[child] for child in below if child in known}


def left_of(processes: Mapping[int, tuple[str, str]]) -> list[str]:
    """The command lines of those of these processes that do not end in time."""
    end = time.monotonic() + _GONE_S
    while True:
        left = {}
        for pid, (began, command) in processes.items():
            with suppress(OSError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if fields[19] == began and fields[0] != "Z":
                    left[pid] = command
        if not left or time.monotonic() > end:
            return list(left.values())
        time.sleep(0.1)


def story(folder: Path) -> list[Event]:
    """The journal without times, what is measured, and the sessions that tell of the kills."""
    return [_timeless(event) for event in journal.read(folder) if event["event"] not in ("run", "session")]


def lines(folder: Path) -> int:
    """The lines of the story so far."""
    return len(story(folder)) if (folder / FILE_NAME).exists() else 0


def _timeless(event: Event) -> Event:
    kept = {k: v for k, v in event.items() if k not in ("time", "measurements", "notes", "traceback")}
    if "values" in kept:
        kept["values"] = {k: v for k, v in kept["values"].items() if find(k).source != "measured"}
    return kept


def faults(folder: Path) -> list[str]:
    """What must not be in any journal, whoever was killed: a failure, no end, a line twice."""
    try:
        record = RunRecord.load(folder)
    except UserError as error:  # a step or an end that stands twice is refused on reading
        return [str(error)]
    found = [f"{t.name}: {t.outcome} {t.reason}" for t in record.trials.values() if not _well(t)]
    events = [e for e in journal.read(folder) if e["event"] in ("suggestion", "report", "end", "final")]
    times = Counter((e["event"], e["trial"], e.get("step")) for e in events)
    return found + [
        f"{' '.join(map(str, what))}: {count} times" for what, count in times.items() if count > 1
    ]


def _well(trial: TrialRecord) -> bool:
    return trial.outcome == "finished" or (trial.outcome == "stopped" and bool(trial.reason))


def round_of(folder: Path, *, trials: int, workers: int, kills: Kills, seed: int) -> dict[str, Any]:
    """One undisturbed and one disturbed run; what differs, in figures.

    Args:
        folder: of both runs.
        trials: of the search.
        workers: at a time; with more than one only what must not be is counted.
        kills: of the disturbed run.
        seed: of the search and of the kills.
    """
    folder.mkdir(parents=True)
    study = folder / "study.yaml"
    study.write_text(STUDY.format(trials=trials, workers=workers, seed=seed))
    undisturbed(study, folder / "whole")
    whole = story(folder / "whole")
    outcome = disturbed(study, folder / "chaos", kills, len(whole), seed)
    if outcome.code:
        raise RuntimeError(f"the disturbed run ended with {outcome.code}: {outcome.output[-2000:]}")
    chaos = story(folder / "chaos")
    differ = [i for i, (a, b) in enumerate(zip(whole, chaos, strict=False)) if a != b]
    differ += range(min(len(whole), len(chaos)), max(len(whole), len(chaos)))
    return {
        "lines": len(whole),
        "differ": len(differ) if workers == 1 else None,
        "first": (whole[differ[0] : differ[0] + 1], chaos[differ[0] : differ[0] + 1]) if differ else None,
        "faults": faults(folder / "chaos"),
        "orphans": outcome.orphans,
        "killed": dict(outcome.killed),
    }


def main() -> None:
    """Print a row a round; exit with 1 where something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of two runs each (default 3)")
    parser.add_argument("--trials", type=int, default=30, help="trials of a search (default 30)")
    parser.add_argument("--workers", type=int, default=1, help="trials at a time (default 1)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on the last line")
    given = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="raysearch-chaos-") as folder:
        for seed in range(given.rounds):
            place = Path(folder) / str(seed)
            rounds.append(
                round_of(place, trials=given.trials, workers=given.workers, kills=Kills(), seed=seed)
            )
            print({key: value for key, value in rounds[-1].items() if value is not None}, flush=True)
    totals = {
        "rounds": given.rounds,
        "killed": sum(sum(r["killed"].values()) for r in rounds),
        "differ": sum(r["differ"] or 0 for r in rounds),
        "faults": sum(len(r["faults"]) for r in rounds),
        "orphans": sum(len(r["orphans"]) for r in rounds),
    }
    if given.json:
        print(json.dumps({"benchmark": "chaos", "figures": totals, "peers": {}}))
    raise SystemExit(any(totals[what] for what in ("differ", "faults", "orphans")))


if __name__ == "__main__":
    main()
