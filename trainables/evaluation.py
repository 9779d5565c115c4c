"""A metric of a model over a data set, wherever the model runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from raysearch.basics.failures import UserError

Metric = Callable[[Tensor, Tensor], float]
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def evaluate(
    model: nn.Module | Predict, dataset: Dataset[Any], metric: Metric, batch_size: int = 256
) -> float:
    """The metric of all logits against all labels of a data set.

    Args:
        model: a torch module, evaluated on the device where its parameters are and left in the mode it was
            in; or anything that maps inputs (n, ...) to logits (n, classes) as numpy arrays, such as a
            compiled model.
        dataset: of (input, label).
        metric: of logits and labels, both on the CPU.
        batch_size: inputs that are computed at once.

    Raises:
        ValueError: the data set is empty.
    """
    logits, labels = predictions(model, dataset, batch_size)
    return float(metric(logits, labels))


def predictions(
    model: nn.Module | Predict, dataset: Dataset[Any], batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """The logits (n, classes) and the labels (n, ...) of a data set, in its order, on the CPU.

    Raises:
        ValueError: the data set is empty.
    """
    outputs, labels = [], []
    for x, y in DataLoader(dataset, batch_size=batch_size):
        outputs.append(logits_of(model, x))
        labels.append(y)
    if not outputs:
        raise UserError("the data set is empty: there is nothing to evaluate on")
    return torch.cat(outputs), torch.cat(labels)


def logits_of(model: nn.Module | Predict, x: Tensor) -> Tensor:
    """The logits of one batch, on the CPU."""
    if not isinstance(model, nn.Module):
        return torch.from_numpy(model(np.ascontiguousarray(x.numpy(), dtype=np.float32)))
    parameter = next(model.parameters(), None)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            logits: Tensor = model(x if parameter is None else x.to(parameter.device))
    finally:
        for module, training in modes:
            module.training = training
    return logits.cpu()
