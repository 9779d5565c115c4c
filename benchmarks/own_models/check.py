"""A case searched by the public API, and its front's figures found again from the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ray import tune
from torch.utils.data import DataLoader, default_collate

import raysearch as rs
from benchmarks.own_models import file_figures
from benchmarks.own_models.case import Array, Case
from raysearch import search_spaces as spaces

TARGET = "onnxruntime-cpu"
TRIALS, EPOCHS = 3, 2
CLOSE = 1e-3  # relative, of a metric; of a share of 48 examples, not one may differ
_NEEDED = 2


@dataclass
class Findings:
    """What came of a search.

    Args:
        finished: trials that reached their end.
        front: variants of the front.
        wrong: figures of front.csv that the file contradicts, in words.
    """

    finished: int
    front: int
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the case came through."""
        return self.finished >= _NEEDED and self.front > 0 and not self.wrong


def search(case: Case, folder: Path) -> rs.StudyResult:
    """Three trials over pruning, bits, and learning rate, on the cluster that is there."""
    space: dict[str, Any] = {
        "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
        "training": {"lr": tune.loguniform(5e-3, 2e-2), "batch_size": 16},
    }
    if case.prunes:
        space["pruning"] = spaces.channel_pruning(max_ratio=0.5, multiple=4)
    if case.teacher:
        space["teacher"] = spaces.teachers("parent")
    objectives = [case.objective, "minimize size_mb", "minimize macs"]
    study = rs.Study(case.task, space, objectives, [], [TARGET], epochs=EPOCHS)
    return study.run(TRIALS, folder=folder, progress=False)


def examine(case: Case, folder: Path) -> Findings:
    """Find the figures of a run's variants again, those of its front and of the trials behind it."""
    trials = pd.read_csv(folder / "trials.csv", dtype={"trial": str})
    finished = trials[(trials["role"] == "trial") & (trials["outcome"] == "finished")]
    front = pd.read_csv(folder / "front.csv", dtype={"trial": str})
    findings = Findings(len(finished), len(front))
    for _, row in pd.concat([front, finished]).iterrows():
        variant = folder / "variants" / row["trial"]
        findings.wrong += [f"{row['trial']}: {text}" for text in _wrong(case, variant, row)]
    return findings


def _wrong(case: Case, variant: Path, row: Mapping[str, Any]) -> Iterator[str]:
    metric = case.objective.split()[1]
    validation, test = (_figure(case, variant / "model.onnx", s) for s in ("validation", "test"))
    found = {metric: validation, f"{metric}/{TARGET}": validation, f"test_{metric}": test}
    static = _static(case, variant)
    for name, value in (found | static).items():
        tolerance = 1e-9 if name in static else CLOSE
        if not np.isnan(row[name]) and not np.isclose(row[name], value, rtol=tolerance, atol=0):
            yield f"{name} is {row[name]:g}, and {value:g} by the file"


def _figure(case: Case, path: Path, split: str) -> float:
    pairs = list(_batches(case, split, 16))
    outputs = file_figures.run(path, [inputs for inputs, _ in pairs])
    return case.metric(outputs, _concatenated([targets for _, targets in pairs]))


def _static(case: Case, variant: Path) -> dict[str, float]:
    path = variant / "model.onnx"
    held = file_figures.weights(path)
    both, _ = next(_batches(case, "train", 2))  # where lengths vary, they count in the longer of the two
    return {
        "file_mb": path.stat().st_size / 1e6,
        "size_mb": sum(array.nbytes for array in held.values()) / 1e6,
        "params": float(sum(array.size for array in held.values())),
        "macs": file_figures.macs(path, both) / 2,
    }


def _batches(case: Case, split: str, size: int) -> Iterator[tuple[dict[str, Array], Any]]:
    """Inputs by the names that they have in the file, and targets, as arrays."""
    examples, collate = getattr(case.task, split), case.task.collate
    if isinstance(examples, DataLoader):
        examples, collate = examples.dataset, examples.collate_fn
    for batch in DataLoader(examples, batch_size=size, collate_fn=collate or default_collate):
        *inputs, targets = batch
        if len(inputs) == 1 and not isinstance(inputs[0], Mapping):
            named = {"input": inputs[0]}
        elif len(inputs) == 1:
            named = inputs[0]
        else:
            named = {f"input_{i}": tensor for i, tensor in enumerate(inputs)}
        yield {name: tensor.numpy() for name, tensor in named.items()}, _arrays(targets)


def _arrays(targets: Any) -> Any:
    if isinstance(targets, Mapping):
        return {name: _arrays(value) for name, value in targets.items()}
    return torch.as_tensor(targets).numpy()


def _concatenated(targets: list[Any]) -> Any:
    if isinstance(targets[0], Mapping):
        return {name: np.concatenate([t[name] for t in targets]) for name in targets[0]}
    return np.concatenate(targets)


def in_float(folder: Path) -> str:
    """What a run says that its quantised trials compute in float."""
    notes = [note for trial in rs.StudyResult(folder).record.trials.values() for note in trial.notes]
    return next((n.removeprefix("in float: ") for n in notes if n.startswith("in float: ")), "")
