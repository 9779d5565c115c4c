"""Whether an exported file computes what the torch module does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from raysearch.backends.base import Backend, CompiledModel
from raysearch.trainables.evaluation import predictions
from raysearch.trainables.quantization.forms import float_form

TOLERANCE = 1e-4
TOP1 = 0.99


@dataclass(frozen=True)
class Agreement:
    """How closely a file follows the module.

    Attributes:
        error: the largest difference of a logit with the runtime's optimisations off, relative to the range of the
            logits.
        top1: the share of inputs for which the deployed session, optimised, prefers the same class, 0..1.
    """

    error: float
    top1: float


class ExportDisagreement(RuntimeError):
    """The exported file does not compute what the torch module does; the message has the figures."""


def check_agreement(
    module: nn.Module, path: Path, backend: Backend, dataset: Dataset[Any], samples: int = 64
) -> CompiledModel:
    """Load a file on its target, and make sure that it does what the module does."""
    reference = float_form(module) if path.suffix == ".pt2" else module
    deployed = backend.load(path)
    few = Subset(dataset, range(min(samples, len(dataset))))  # type: ignore[arg-type]
    expected, _ = predictions(reference, few)
    exact, _ = predictions(backend.load(path, optimize=False), few)
    error = float((exact - expected).abs().max() / (expected.max() - expected.min()))
    top1 = _same_class(predictions(reference, dataset)[0], predictions(deployed, dataset)[0])
    if top1 < TOP1:
        raise ExportDisagreement(
            f"{path.name} on {backend.name}: same class for {top1:.2%}; error {error:.2g}"
        )
    return deployed


def _same_class(a: Tensor, b: Tensor) -> float:
    return float((a.argmax(1) == b.argmax(1)).float().mean())
