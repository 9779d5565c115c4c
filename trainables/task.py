"""A user's problem in one class: the model, the data, the loss and the metric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.search_spaces.resnet import ResNetPlan
from raysearch.trainables.data.splits import Examples

Builder = Callable[[ResNetPlan | None], nn.Module]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of rows whose largest logit is the label's; logits (n, classes), labels (n,)."""
    return float((logits.argmax(1) == labels).float().mean())


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The mean cross entropy; logits (n, classes), labels (n,)."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


@dataclass
class Task:
    """What is to be learned and compressed.

    It is sent to the cluster's workers, so all of it must be picklable: functions from modules, no lambdas.

    Args:
        model: a module, trained or not, that is pruned and quantised as it is; or a function of a
            ``ResNetPlan`` (None where no architecture is given) that makes a fresh one.
        train: examples ``(x, y)``, x as the model takes it (normalised), y the class. The splits are
            disjoint; a TensorDataset trains fastest.
        validation: what trials are compared on.
        test: what only the final front is measured on.
        metric: of logits (n, classes) and labels (n,), higher is better; reported as "accuracy".
        loss: of the same, the mean over the batch. Where training/label_smoothing is set, it is given as the
            argument ``label_smoothing``.
        augment: of a batch of inputs in training, returns a batch of the same shape.
        parent: config of the unchanged network: "architecture" and "training".
        pretrained: the given module holds trained weights; only for a module.
        name: what run folders are called after.
        source: the study file's "task" that made it; without one, only the program that made the task can go
            on with its runs.

    Raises:
        ValueError: an empty split, an example that is no pair of tensors, a parent with other keys.
    """

    model: nn.Module | Builder
    train: Examples
    validation: Examples
    test: Examples
    metric: Callable[[Tensor, Tensor], float] = accuracy
    loss: Callable[..., Tensor] = cross_entropy
    augment: Callable[[Tensor], Tensor] | None = None
    parent: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    name: str = "task"
    source: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise UserError(f"model is {self.model!r}: give a torch module or a function that makes one")
        if self.pretrained and self.searches_architecture:
            raise UserError("pretrained=True needs a module with its weights, and model is a function")
        shapes = {split: self._example_shape(split) for split in ("train", "validation", "test")}
        for split, shape in shapes.items():
            if shape != shapes["train"]:
                raise UserError(f"an example of {split} has shape {shape}, one of train {shapes['train']}")
        wrong = sorted(set(self.parent) - {"architecture", "training"})
        if wrong:
            raise UserError(f"parent has the key {wrong[0]!r}: it holds only 'architecture' and 'training'")

    def _example_shape(self, split: str) -> tuple[int, ...]:
        examples = getattr(self, split)
        if not len(examples):
            raise UserError(f"{split} is empty: give at least one example")
        example = examples[0]
        if not (isinstance(example, (tuple, list)) and len(example) == 2 and isinstance(example[0], Tensor)):
            raise UserError(f"an example of {split} is not a pair (tensor, class)")
        return tuple(example[0].shape)

    @property
    def searches_architecture(self) -> bool:
        """Whether the model is made from a plan, so that its architecture can be searched."""
        return not isinstance(self.model, nn.Module)

    def build(self, plan: ResNetPlan | None = None) -> nn.Module:
        """A model of its own for the caller: made from the plan, or a copy of the given one with its weights.

        Raises:
            ValueError: a plan for a model that does not take one.
        """
        if not isinstance(self.model, nn.Module):
            return self.model(plan)
        if plan is not None:
            raise UserError(
                "the task's model is fixed: leave the architecture out of the space and the parent"
            )
        return copy.deepcopy(self.model)

    def example_input(self, n: int = 1) -> Tensor:
        """The first ``n`` training inputs, shape (n, ...)."""
        return torch.stack([self.train[i][0] for i in range(min(n, len(self.train)))])  # type: ignore[arg-type]
