"""Metrics of a model over a data set, wherever the model runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.networks.nests import Nest, call, concatenate, device_of, names, tensors, to_device
from raysearch.trainables.data.batches import Batch, Collate, Examples, batches

Function = Callable[[Nest], Nest]


class RunningMetric(Protocol):
    """A metric that is fed batch by batch, as torchmetrics' are."""

    def update(self, outputs: Nest, targets: Nest) -> None:
        """Take in one batch."""

    def compute(self) -> Any:
        """One number over all batches."""

    def reset(self) -> None:
        """Forget all batches."""


Metric = Callable[[Any, Any], Any] | RunningMetric


def evaluate(
    model: nn.Module | Function,
    examples: Examples,
    metrics: Mapping[str, Metric],
    collate: Collate | None = None,
    batch_size: int = 256,
) -> dict[str, float]:
    """Each metric of a model's outputs on all examples, in one pass.

    Args:
        model: a torch module, evaluated on the device where its parameters are and left in the mode it was
            in; or a function of an inputs nest on the CPU that gives an outputs nest.
        examples: of (inputs, targets).
        metrics: by name; functions of all outputs and all targets, or running metrics; both on the CPU.
        collate: makes a batch of a list of examples.
        batch_size: examples that are computed at once.

    Raises:
        ValueError: there are no examples, or a metric gives no number.
    """
    return score(predictions(model, examples, collate, batch_size), metrics)


def score(predicted: Iterable[Batch], metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Each metric of batches of (outputs, targets).

    Running metrics see one batch at a time, and are left as they were; functions see all batches as one.

    Raises:
        ValueError: there are no batches, those that a function needs cannot be joined, or a metric gives no
            number.
    """
    running: dict[str, Any] = {name: copy.deepcopy(m) for name, m in metrics.items() if is_running(m)}
    for metric in running.values():
        metric.reset()
    kept, seen = [], False
    for outputs, targets in predicted:
        seen = True
        for metric in running.values():
            metric.update(outputs, targets)
        if len(running) < len(metrics):
            kept.append((outputs, targets))
    if not seen:
        raise UserError("the data set is empty: there is nothing to evaluate on")
    whole = _joined(kept) if kept else ()
    values = {n: running[n].compute() if n in running else m(*whole) for n, m in metrics.items()}  # type: ignore[operator]
    return {name: number(name, value) for name, value in values.items()}


def predictions(
    model: nn.Module | Function, examples: Examples, collate: Collate | None = None, batch_size: int = 256
) -> Iterator[Batch]:
    """Batches of (outputs, targets) of all examples, in a fixed order, on the CPU."""
    for inputs, targets in batches(examples, batch_size, collate=collate):
        yield outputs_of(model, inputs), targets


def outputs_of(model: nn.Module | Function, inputs: Nest) -> Nest:
    """The outputs of one batch, on the CPU."""
    if not isinstance(model, nn.Module):
        return model(inputs)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            outputs = call(model, to_device(inputs, device_of(model)))
    finally:
        for module, training in modes:
            module.training = training
    return to_device(outputs, "cpu")


def is_running(metric: Any) -> bool:
    """Whether a metric is fed batch by batch."""
    return all(hasattr(metric, method) for method in ("update", "compute", "reset"))


def number(name: str, value: Any) -> float:
    """A metric's value as a number; NaN and infinities are numbers.

    Raises:
        ValueError: it is none, or several.
    """
    single = value.numel() == 1 if isinstance(value, Tensor) else np.size(value) == 1
    try:
        if single and not isinstance(value, str):
            return float(value)
    except (TypeError, RuntimeError):
        pass
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, (Tensor, np.ndarray)) else ""
    raise UserError(
        f"metrics[{name!r}] gives a {type(value).__name__}{shape}: it must give one number; name several "
        "metrics for several figures"
    )


def _joined(kept: list[Batch]) -> Batch:
    outputs, targets = zip(*kept, strict=True)
    try:
        return concatenate(outputs), concatenate(targets)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the batches cannot be joined for metrics that are functions ({error}): pad all examples to one "
            "length, or give metrics with update(outputs, targets), compute() and reset()"
        ) from error


def class_axes(outputs: Nest, targets: Nest) -> list[int | None]:
    """For each output tensor the axis of its classes; None where it holds no logits of classes.

    Logits of classes are those whose target, the one of their name and place or any where there is none,
    holds class indices: int64, of the logits' shape without the classes' axis, which is axis 1, or else the
    last.
    """
    known = dict(zip(names(targets, "output"), tensors(targets), strict=True))
    return [
        _class_axis(logits, [known[name]] if name in known else list(known.values()))
        for name, logits in zip(names(outputs, "output"), tensors(outputs), strict=True)
    ]


def _class_axis(logits: Tensor, targets: list[Tensor]) -> int | None:
    shapes = [tuple(t.shape) for t in targets if t.dtype is torch.int64]
    for axis in (1, logits.dim() - 1) if logits.dim() > 1 else ():
        shape = (*logits.shape[:axis], *logits.shape[axis + 1 :])
        if logits.is_floating_point() and logits.shape[axis] > 1 and shape in shapes:
            return axis
    return None
