"""Whether a task works: a few examples through its model, its loss and its metrics, before any work.

What a user's own functions raise becomes one sentence that names the function and what it was given.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.basics.failures import UserError, attempt
from raysearch.networks.nests import Nest, batch_size, call, names, tensors
from raysearch.networks.running import check_runs
from raysearch.search_spaces.architectures import Architecture
from raysearch.trainables.data.batches import Batch, batches
from raysearch.trainables.data.checks import check_finite, check_labels
from raysearch.trainables.evaluation import outputs_of, predictions, score
from raysearch.trainables.exits.checks import refuse_exits
from raysearch.trainables.task import Task, accuracy, cross_entropy
from raysearch.trainables.task_form import SPLITS, check_excluded

_SIZE, _BATCHES = 8, 2
_FULL = 64  # a loss of some of the examples alone, of positive ones say, may be none on a few


def check_task(task: Task, plan: Architecture | None = None) -> None:
    """Try what a trial does with a task's fields, on two small batches of each split.

    Args:
        task: is left as it is.
        plan: of the parent's architecture, where the model is made from one.

    Raises:
        ValueError: one of them cannot work; the sentence says which, on what, and what would be right.
    """
    model = task.build(plan)
    check_excluded(task, model)
    _check_sizes(task)
    for split in SPLITS:
        for inputs, targets in _few(task, split):
            check_runs(model, inputs)
            outputs = outputs_of(model, inputs)
            refuse_exits(outputs)
            if not tensors(outputs):
                raise UserError(f"the model gives {form(outputs)}, which holds no tensor: let it give one")
            _check_default(task, split, outputs, targets)
        examples = getattr(task, split)
        if _wants_classes(task) and not targets.is_floating_point():
            check_labels(examples, task.collate, split, classes=outputs.shape[1])
        check_finite(model, examples, task.collate, split)
    _check_step(task, model)
    _check_metrics(task, model)


def _few(task: Task, split: str) -> list[Batch]:
    examples = getattr(task, split)
    return list(
        attempt(
            lambda: list(islice(batches(examples, _SIZE, collate=task.collate), _BATCHES)),
            f"reading the examples of {split}",
        )
    )


def _check_sizes(task: Task) -> None:
    """Refuse an axis whose size differs between batches unless the task names it as varying."""
    known: dict[tuple[str, int], int] = {}
    for split in SPLITS:
        examples = getattr(task, split)
        some = islice(batches(examples, 1, collate=task.collate), 2 * _SIZE)
        single = attempt(lambda some=some: list(some), f"reading the examples of {split}")  # type: ignore[misc]
        for inputs, _ in [*single, *_few(task, split)]:
            for name, tensor in zip(names(inputs, "input"), tensors(inputs), strict=True):
                for axis in set(range(1, tensor.dim())) - set(task.varying.get(name, {})):
                    size = tensor.shape[axis]
                    other = known.setdefault((name, axis), size)
                    if size != other:
                        raise UserError(
                            f"axis {axis} of {name} has the size {other} in one batch and {size} in another: "
                            f"name it, as by varying={{{name!r}: {{{axis}: 'length'}}}}"
                        )


def _wants_classes(task: Task) -> str:
    """Which default needs logits and class indices; empty where the task has its own loss and metrics."""
    return "loss" if task.loss is cross_entropy else "metric" if _has_accuracy(task) else ""


def _has_accuracy(task: Task) -> bool:
    return any(metric is accuracy for metric in task.metrics.values())  # metrics may define == as they like


def _check_default(task: Task, split: str, outputs: Nest, targets: Nest) -> None:
    """Refuse what the default loss and the default metric are not of."""
    default = _wants_classes(task)
    if not default:
        return
    if not (isinstance(outputs, Tensor) and outputs.dim() > 1 and outputs.is_floating_point()):
        raise UserError(
            f"the model gives {form(outputs)}, and the default {default} is of logits (n, classes): give the "
            "task its own loss= and metrics="
        )
    shape = (outputs.shape[0], *outputs.shape[2:])
    if isinstance(targets, Tensor):
        if targets.dtype is torch.int64 and targets.shape == shape:
            return
        if targets.is_floating_point() and targets.shape == outputs.shape and default == "loss":
            if not _has_accuracy(task):
                return  # a probability of each class
            default = "metric"
    raise UserError(
        f"{split}: the targets are {form(targets)}, and the default {default} is of class indices, int64 "
        f"{shape} for outputs {form(outputs)}: give such targets, or the task its own loss= and metrics="
    )


def _check_step(task: Task, model: nn.Module) -> None:
    """One step of training without the step: the augmentation, the loss and its gradient."""
    inputs, targets = _few(task, "train")[0]
    model.train(batch_size(inputs) > 1)  # batch norm cannot be trained on one example
    if task.augment is not None:
        augmented = attempt(lambda: task.augment(inputs), f"augment, on {form(inputs)},")  # type: ignore[misc]
        if form(augmented) != form(inputs):
            raise UserError(f"augment makes {form(augmented)} of {form(inputs)}: it must keep form and type")
    outputs = attempt(lambda: call(model, inputs), f"the model in training mode, on {form(inputs)},")
    given = f"outputs {form(outputs)} and targets {form(targets)}"
    loss = attempt(lambda: task.loss(outputs, targets), f"loss, on {given},")
    _check_scalar(loss, "loss")
    if not loss.isfinite():
        _check_loss_of_many(task, model)
    if loss.requires_grad:
        attempt(loss.backward, f"the gradient of loss, on {given},")
    elif any(p.requires_grad for p in model.parameters()):
        raise UserError(
            "loss gives a tensor that does not depend on the model's weights: compute it from the outputs by "
            "torch's operators"
        )
    if task.distillation is not None:
        term = attempt(
            lambda: task.distillation(outputs, outputs, 1.0),  # type: ignore[misc]
            f"distillation, on outputs {form(outputs)} twice,",
        )
        _check_scalar(term, "distillation")


def _check_loss_of_many(task: Task, model: nn.Module) -> None:
    """Refuse a loss that has no value before anything is trained."""
    inputs, targets = next(batches(task.train, _FULL, collate=task.collate))
    with torch.no_grad():
        outputs = attempt(lambda: call(model, inputs), f"the model in training mode, on {form(inputs)},")
        given = f"outputs {form(outputs)} and targets {form(targets)}"
        loss = attempt(lambda: task.loss(outputs, targets), f"loss, on {given},")
    if not loss.isfinite():
        raise UserError(
            f"loss gives {loss.item():g} on the first {batch_size(inputs)} examples of train before anything "
            "is trained: it must give a finite number, so look for a division by 0, or its logarithm"
        )


def _check_scalar(value: Any, name: str) -> None:
    if not (isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()):
        raise UserError(f"{name} gives {form(value)}: it must give a tensor of one number, the batch's mean")


def _check_metrics(task: Task, model: nn.Module) -> None:
    """Each metric on a few examples, or on all where it fails on few: some need every class, say."""
    batch = [(outputs_of(model, inputs), targets) for inputs, targets in _few(task, "validation")]
    for name, metric in task.metrics.items():
        try:
            score(batch, {name: metric})
        except UserError:
            raise
        except Exception:
            outputs, targets = batch[0]
            attempt(
                lambda metric=metric: score(  # type: ignore[misc]
                    predictions(model, task.validation, task.collate), {"": metric}
                ),
                f"metrics[{name!r}], on outputs {form(outputs)} and targets {form(targets)},",
            )


def form(nest: Nest) -> str:
    """A nest's types and shapes in words: "float32 (8, 10)", "{'logits': float32 (8, 10)}"."""
    if isinstance(nest, Tensor):
        return f"{str(nest.dtype).removeprefix('torch.')} {tuple(nest.shape)}"
    if hasattr(nest, "items"):
        return "{" + ", ".join(f"{key!r}: {form(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, (tuple, list)):
        return "(" + ", ".join(map(form, nest)) + ")"
    return type(nest).__name__
