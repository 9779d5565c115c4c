"""A plausible run, without running anything: what results, reports and the command line are tested on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TARGET = "onnxruntime-cpu"
EPOCHS = 9
STUDY = {
    "task": {"name": "digits"},
    "space": {"training": {"lr": {"loguniform": [1e-4, 1e-2]}}},
    "parent": {"architecture": {"family": "resnet"}, "training": {"lr": 1e-3}},
    "objectives": ["maximize accuracy", f"minimize latency_ms/{TARGET}", "minimize size_mb"],
    "constraints": ["accuracy >= parent - 0.02"],
    "targets": [TARGET],
    "search": {
        "epochs": EPOCHS,
        "searcher": "nsga2",
        "scheduler": "successive_halving",
        "seed": 0,
        "resources": {"cpu": 1.0, "gpu": 0.0},
    },
}


@dataclass(frozen=True)
class Quality:
    """The metric of a made-up task, as a linear function of an accuracy."""

    name: str
    unit: str
    offset: float
    factor: float

    def __call__(self, accuracy: float) -> float:
        return self.offset + self.factor * accuracy


ACCURACY = Quality("accuracy", "share", 0.0, 1.0)
RMSE = Quality("rmse", "", 400.0, -300.0)  # the parent's: about 104
LIKELIHOOD = Quality("log_likelihood", "", -4.0, 2.0)  # the parent's: about -2; higher is better


def study_of(quality: Quality, **changes: Any) -> dict[str, Any]:
    """The study of a run with this metric: three objectives, no constraint."""
    wanted = "minimize" if quality.factor < 0 else "maximize"
    objectives = [f"{wanted} {quality.name}", *STUDY["objectives"][1:]]
    return {**STUDY, "objectives": objectives, "constraints": [], **changes}


class FakeRun:
    """Writes a journal event by event, with its own clock."""

    def __init__(self, study: dict[str, Any], seed: int, quality: Quality = ACCURACY) -> None:
        self.quality = quality
        self.events: list[dict[str, Any]] = []
        self.random = np.random.default_rng(seed)
        self.time = 1_700_000_000.0
        self.epochs = study["search"]["epochs"]
        metrics = (
            {} if quality is ACCURACY else {"metrics": {quality.name: quality.unit}}
        )  # as 0.1.0 wrote it
        self.write("run", version=1, raysearch="0.1.0", study=study, **metrics)
        self.write("session", action="start", num_trials=48)

    def write(self, event: str, after: float = 0.5, **fields: Any) -> None:
        self.time += after
        self.events.append({"event": event, "time": round(self.time, 3), **fields})

    def measurement(self, latency: float) -> dict[str, Any]:
        return {
            "target": TARGET,
            "latency_ms": latency,
            "ratio": latency / 0.42,
            "reference_ms": 0.42,
            "noise": 0.012,
            "contended": bool(self.random.random() < 0.1),
            "contention": 0.02,
            "samples": 120,
            "seconds": 0.9,
            "runtime": "onnxruntime",
            "version": "1.31.1",
            "device": "Xeon (Cascade Lake)",
            "threads": 1,
            "batch": 1,
            "source": "measured",
            "cached": False,
        }

    def trial(
        self, name: str, role: str, bits: int, keep: float, *, end: str = "finished", at: int | None = None
    ) -> None:
        """One trial: accuracy rises with size and falls with few bits; latency and size follow both."""
        name_of, figure = self.quality.name, self.quality
        at = self.epochs + 1 if at is None else at
        scale = {32: 1.0, 16: 1.0, 8: 0.36, 4: 0.36, 2: 0.36}[bits]
        latency = 0.42 * scale * (0.25 + 0.75 * keep) * float(self.random.uniform(0.9, 1.1))
        size = 0.31 * keep * bits / 32
        best = 0.985 - 0.02 * (1 - keep) ** 2 - {32: 0, 16: 0, 8: 0.002, 4: 0.008, 2: 0.03}[bits]
        best += float(self.random.normal(0, 0.003)) if role == "trial" else 0.0
        config = {
            "architecture": {"family": "resnet", "stem": {"width": int(8 * max(1, round(8 * keep)))}},
            "bits": {"stem": {"weights": bits, "activations": min(bits, 8) if bits < 32 else 32}},
            "training": {"lr": round(float(10 ** self.random.uniform(-4, -2)), 6)},
        }
        origin = "reference" if role == "reference" else "nsga2"
        self.write("suggestion", trial=name, role=role, config=config, key=name, origin=origin)
        static = {
            f"latency_ms/{TARGET}": latency,
            "size_mb": size,
            "file_mb": size * 1.3 + 0.004,
            "macs": 4e6 * keep**2,
            "params": 8e4 * keep,
            f"peak_memory_mb/{TARGET}": size + 0.1,
        }
        notes = (
            ["weights of 2 bits are computed in 8: they count in size_mb, not in latency"] if bits < 4 else []
        )
        for step in range(at + 1):
            values = dict(static) if step == 0 else {name_of: figure(best - 0.3 * np.exp(-step / 2))}
            if step == self.epochs + 1:
                values = {name_of: figure(best), f"{name_of}/{TARGET}": figure(best)}
            elif step:
                values["loss"] = 2 * float(np.exp(-step))
            self.write(
                "report",
                trial=name,
                step=step,
                values=values,
                notes=notes if step == 0 else [],
                measurements=[self.measurement(latency)] if step == 0 else [],
                decision="stop" if end == "stopped" and step == at else "continue",
            )
        reason = {"stopped": f"stopped at step {at}", "failed": "loss is NaN at epoch 2"}.get(end, "")
        self.write("end", trial=name, outcome=end, reason=reason)

    def final(self, name: str, latency: float, accuracy: float) -> None:
        values = {f"latency_ms/{TARGET}": latency, f"test_{self.quality.name}": self.quality(accuracy)}
        self.write("final", trial=name, values=values, measurements=[self.measurement(latency)])


def make_events(
    trials: int = 48,
    *,
    seed: int = 0,
    finish: bool = True,
    quality: Quality = ACCURACY,
    study: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The events of a plausible run on digits, or on a task with another metric."""
    run = FakeRun(study or (STUDY if quality is ACCURACY else study_of(quality)), seed, quality)
    run.trial("parent", "reference", 32, 1.0)
    run.trial("parent-int8", "reference", 8, 1.0)
    for number in range(trials):
        bits = int(run.random.choice([2, 4, 8, 32]))
        keep = float(run.random.uniform(0.1, 1.0))
        draw = run.random.random()
        end, at = ("stopped", int(run.random.choice([0, 1, 3]))) if draw < 0.5 else ("finished", None)
        end, at = ("failed", 2) if number % 19 == 7 else (end, at)
        if number == trials // 2:
            run.write("session", 1.0, action="interrupt")
            run.write("session", 5000.0, action="resume", num_trials=trials)
        run.trial(f"{number:04d}", "trial", bits, keep, end=end, at=at)
    if finish:
        run.write("session", action="finish")
    return run.events


def write_run(folder: Path, events: list[dict[str, Any]]) -> Path:
    """A run folder that holds this journal and an empty variant folder per finished trial."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "journal.jsonl").write_text(text, encoding="utf-8")
    for event in events:
        if event["event"] == "end" and event["outcome"] == "finished":
            variant = folder / "variants" / event["trial"]
            variant.mkdir(parents=True, exist_ok=True)
            (variant / "spec.json").write_text("{}")
    return folder
