"""Training settings: plain Tune domains or constants under these keys, and the plan they decode to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces.keys import as_integer, check_keys


@dataclass(frozen=True)
class TrainingPlan:
    """How a trial trains; each field is a key of the space's "training".

    Args:
        lr: peak learning rate of AdamW in the float part.
        batch_size: examples a step.
        weight_decay: AdamW's decoupled weight decay.
        label_smoothing: of the labels' cross entropy, in [0, 1).
        quantized_share: share of the epochs trained quantised, in (0, 1], where any layer has under 32 bits.
        quantized_lr: peak learning rate of the quantised part as a factor on ``lr``.
    """

    lr: float = 3e-3
    batch_size: int = 64
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    quantized_share: float = 1 / 3
    quantized_lr: float = 0.1

    def __post_init__(self) -> None:
        for key in ("lr", "quantized_lr"):
            if not 0 < getattr(self, key) < math.inf:
                raise UserError(f"training/{key} is {getattr(self, key)}: it must be positive and finite")
        if self.batch_size < 1:
            raise UserError(f"training/batch_size is {self.batch_size}: it must be at least 1")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"training/weight_decay is {self.weight_decay}: it must be finite, at least 0")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"training/label_smoothing is {self.label_smoothing}, not in [0, 1)")
        if not 0 < self.quantized_share <= 1:
            raise UserError(f"training/quantized_share is {self.quantized_share}, not in (0, 1]")


KEYS = tuple(f.name for f in fields(TrainingPlan))
QUANTIZED_ONLY = ("quantized_share", "quantized_lr")


def decode_training(config: Mapping[str, Any], quantized: bool) -> TrainingPlan:
    """The plan of a training config; absent keys take their defaults.

    Args:
        config: values under ``KEYS``.
        quantized: whether any layer is quantised; if not, the settings of the quantised part are inactive.

    Raises:
        ValueError: an unknown key (with the nearest known one) or a value out of range.
    """
    check_keys(config, KEYS, "training")
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"training/{key} is {value!r}, not a number")
        values[key] = as_integer(value, f"training/{key}") if key == "batch_size" else float(value)
    plan = TrainingPlan(**values)
    if quantized:
        return plan
    return TrainingPlan(**{k: v for k, v in asdict(plan).items() if k not in QUANTIZED_ONLY})


def encode_training(plan: TrainingPlan, quantized: bool) -> dict[str, Any]:
    """The canonical config of a plan, without the inactive settings."""
    return {k: v for k, v in asdict(plan).items() if quantized or k not in QUANTIZED_ONLY}
