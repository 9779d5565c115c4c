"""What all trials of a study share, how a trial asks for a measurement, and what it reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from raysearch.backends.base import Backend, Feed, trial_figures
from raysearch.backends.measurement.spared import Description
from raysearch.backends.sent import Sent
from raysearch.metrics import find
from raysearch.search_spaces.space import Space
from raysearch.storage import Place
from raysearch.trainables.task import Task
from raysearch.trainables.training.schedule import cycles

CALIBRATION_SAMPLES = 256
LONGER = "parent-longer"
FILES = {
    "uint8": "model.onnx",
    "int8": "model-int8.onnx",
    "litert": "model.tflite",
    "pt2": "model.pt2",
}

Config = dict[str, Any]


class Measure(Protocol):
    """Has a model file measured on a target."""

    def __call__(
        self,
        target: Backend,
        path: Path,
        example: Feed,
        *,
        reference: bool = False,
        again: bool = False,
        description: Description | None = None,
    ) -> dict[str, Any]:
        """The measurement, the estimate or the prediction, as a dictionary.

        Args:
            target: where.
            path: a file of the form that the backend wants.
            example: a batch of inputs of the target's size, by the names of their tensors.
            reference: makes this model the one that others are compared with.
            again: measures past the cache.
            description: of the model, by which others like it are predicted, and it by others.
        """


def weight_bits_on(targets: Sequence[Backend]) -> int:
    """In how many bits integer weights fit, that every target sums their products exactly on this machine."""
    return min(target.weight_bits() for target in targets)


def unsigned_bits_in(forms: Iterable[str]) -> int:
    """In how many bits the integers of activations without a sign fit, where files of these forms hold them.

    All files come of one network: where one of them has signed integers, 7.
    """
    return 7 if "int8" in forms else 8


@dataclass(frozen=True)
class Report:
    """One report of a trial.

    Attributes:
        step: 0 before training, then the epoch, then that of the exported model.
        values: what is known at this step, by metric.
        measurements: those behind the latencies.
        notes: remarks.
        parts: of final figures, each of the task's metrics on parts of the test split; see ``parts``.
    """

    step: int
    values: dict[str, float]
    measurements: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """A reference that was trained before.

    Attributes:
        weights: the file of its trained float weights.
        curve: what it reported at each step.
    """

    weights: str
    curve: Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of a study share.

    Args:
        task: model, data, loss and metrics.
        space: decodes configs.
        targets: at least one; the first one's file is the one that ``file_mb`` weighs.
        epochs: E >= 1.
        folder: the run's folder: of a disk that every worker sees, or in a bucket.
        references: configs by name; "parent" is inherited from and taught by, "larger" only taught by,
            ``LONGER`` is the parent once more, trained on.
        parent_epochs: how long the parent is trained; None: until it is done.
        kept: references that were trained before, by name.
        seed: of the study.
        service: the name of the measurement service's actor.
        maximize: of each metric of the task whether higher is better, where something says it.
        weight_bits: in how many bits the integers of weights fit, that every target sums their products
            exactly; 0: as ``Backend.weight_bits`` says on the machine where the set-up is made.
        patience: seconds since the epoch, after which no further cycle of a reference begins.
        made: the references that the run has made: whatever of these is not in its folder was lost.
    """

    task: Task
    space: Space
    targets: tuple[Backend, ...]
    epochs: int
    folder: Place
    references: Mapping[str, Config] = field(default_factory=dict)
    seed: int = 0
    service: str = "raysearch"
    maximize: Mapping[str, bool] = field(default_factory=dict)
    parent_epochs: int | None = None
    kept: Mapping[str, Kept] = field(default_factory=dict)
    weight_bits: int = 0
    patience: float = math.inf
    made: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        elsewhere = [replace(t, service=self.service) if isinstance(t, Sent) else t for t in self.targets]
        object.__setattr__(self, "targets", tuple(elsewhere))
        if not self.weight_bits:
            # The workers get what was found here.
            object.__setattr__(self, "weight_bits", weight_bits_on(self.targets))

    def higher_is_better(self, metric: str) -> bool | None:
        """Which way a metric of the task is better; None where nothing says it."""
        return self.maximize.get(metric, find(metric).higher_is_better)

    @property
    def from_scratch(self) -> frozenset[str]:
        """The references that start from no other's weights."""
        return frozenset(self.references) - {LONGER}

    def last_step(self, name: str) -> int:
        """The step of a trial's exported model: E + 1; later of what may be trained for longer."""
        longest = self.epochs
        if name in self.from_scratch:
            longest = cycles(self.epochs)[-1]
            if name == "parent" and self.parent_epochs is not None:
                longest = max(self.epochs, self.parent_epochs)
        return longest + 1

    @property
    def forms(self) -> tuple[str, ...]:
        """The file forms that the targets want, ONNX always among them: static figures are read from it."""
        return tuple(dict.fromkeys(["uint8", *(target.form for target in self.targets)]))

    @property
    def unsigned_bits(self) -> int:
        """In how many bits the integers of activations without a sign fit; see ``unsigned_bits_in``."""
        return unsigned_bits_in(self.forms)

    @property
    def measured(self) -> tuple[Backend, ...]:
        """The targets that say more of a trial's file than its outputs and what is counted."""
        return tuple(target for target in self.targets if set(trial_figures(target).values()) - {"static"})

    @property
    def measured_last(self) -> tuple[Backend, ...]:
        """Those that say so of finalists alone."""
        return tuple(target for target in self.targets if target.finalists_only)

    @property
    def throughout(self) -> bool:
        """Whether what every layer gives is rounded, as LiteRT wants it."""
        return "litert" in self.forms

    @property
    def rounding(self) -> tuple[int, int, bool]:
        """How the targets want integers: bits of weights, of activations without a sign, and throughout."""
        return self.weight_bits, self.unsigned_bits, self.throughout

    def over_targets(self, values: Mapping[str, Mapping[str, float]], prefix: str = "") -> dict[str, float]:
        """The task's metrics by target as a trial reports them, and of each the worst over the targets.

        Args:
            values: by target, then by the metric's name.
            prefix: of the names.

        Returns:
            ``<name>/<target>`` and ``<name>``; NaN where it is NaN on any target.
        """
        found: dict[str, float] = {}
        for name in self.task.metrics if values else ():
            each = {target: of_target[name] for target, of_target in values.items()}
            found |= {f"{prefix}{name}/{target}": value for target, value in each.items()}
            worst = np.max if self.higher_is_better(name) is False else np.min
            found[f"{prefix}{name}"] = float(worst(list(each.values())))
        return found

    def worst_parts(
        self, values: Mapping[str, Mapping[str, float]], parts: Mapping[str, Mapping[str, list[float]]]
    ) -> dict[str, list[float]]:
        """Of each of the task's metrics its parts on the target where it is worst, as far as they are known.

        Args:
            values: by target, then by the metric's name.
            parts: the same, of ``parts.Parts``.
        """
        found: dict[str, list[float]] = {}
        for name in self.task.metrics if values else ():
            pick = max if self.higher_is_better(name) is False else min
            worst = pick(values, key=lambda target: values[target][name])
            found |= {name: parts[worst][name]} if name in parts[worst] else {}
        return found

    def trial_folder(self, name: str) -> Place:
        """Where a trial keeps its checkpoint while it runs."""
        return self.folder / "trials" / name

    def log_file(self, name: str) -> Place:
        """What a trial printed and logged."""
        return self.folder / "logs" / f"{name}.log"

    def variant_folder(self, name: str) -> Place:
        """Where a finished trial leaves its variant."""
        return self.folder / "variants" / name

    def reference_weights(self, name: str) -> Place:
        """The trained float weights of a reference."""
        return self.folder / "references" / f"{name}.safetensors"

    @property
    def parts_file(self) -> Place:
        """The parent's metrics on parts of the validation split."""
        return self.folder / "references" / "parent.parts.json"
