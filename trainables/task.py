"""A user's problem in one class: the model, the data, the loss and the metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from raysearch.basics.failures import UserError, attempt
from raysearch.networks.copying import copy_of, let_pickle
from raysearch.networks.nests import Nest
from raysearch.search_spaces.architectures import Architecture, OwnPlan, decode_architecture
from raysearch.trainables.data.batches import Batch, Collate, Examples, batches
from raysearch.trainables.evaluation import Metric
from raysearch.trainables.models.ready import ReadyBuilder
from raysearch.trainables.task_form import check_form

Builder = Callable[[Any], nn.Module] | Callable[[], nn.Module]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of labels whose logit is the largest; logits (n, classes, ...), labels (n, ...)."""
    return float((logits.argmax(1) == labels).float().mean())


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The mean cross entropy; logits (n, classes, ...), labels (n, ...)."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


@dataclass
class Task:
    """What is to be learned and compressed.

    It is sent to the cluster's workers, so all of it must be picklable.

    Inputs are a tensor (``model(x)``), a tuple (``model(*inputs)``) or a mapping (``model(**inputs)``) of
    tensors of any type; outputs and targets are any nest of tensors.

    Args:
        model: a module, trained or not, that is pruned and quantised as it is; or a function of the
            architecture that makes a fresh one: of a plan such as ``ResNetPlan`` where the space is one of
            raysearch's families, else of a nested dict with a value for each domain of the user's own space,
            alike in all but its weights for the same dict. Without an architecture it is given nothing, or
            None.
        train: examples (inputs, target), as the model takes them; of a longer tuple the last is the target.
            A Dataset, an IterableDataset with a length, or a DataLoader, whose data set, ``collate_fn`` and
            sampler are taken; its batch size holds where neither the space nor ``parent`` says another. The
            splits are disjoint; a TensorDataset, or a Subset of one, trains fastest.
        validation: what trials are compared on.
        test: what only the final front is measured on.
        metrics: by name, functions of all outputs and all targets of a split, or objects with
            update(outputs, targets), compute() and reset(), as torchmetrics' are; each gives one number.
        loss: of a batch's outputs and targets, a tensor of one value, the mean over the batch. Where
            training/label_smoothing is set, it is given as the argument ``label_smoothing``.
        collate: makes a batch (inputs, targets) of a list of examples; left out, torch's ``default_collate``.
        varying: axes beside the batch whose size differs from batch to batch: {input: {axis: a name}}, the
            inputs called by their keys, "input_0", "input_1", ... in a tuple, and "input" where there is one.
        distillation: the term that learns from a teacher, of the student's outputs, the teacher's outputs and
            the temperature; see ``trainables.training.distillation`` for what holds if left out.
        exclude: layers, or parts with all their layers, that are neither pruned nor quantised.
        parts: what has a pruning ratio and bits of its own; left out, of a given module its groups of layers
            and its layers, of a searched architecture the top-level children.
        augment: of a batch of inputs in training, returns a batch of the same form.
        parent: config of the unchanged network: "architecture" and "training".
        pretrained: the given module holds trained weights; only for a module.
        name: what run folders are called after.
        source: the study file's "task" that made it; without one, only the program that made the task can go
            on with its runs.

    Raises:
        ValueError: one of them cannot be right; the sentence says what would be.
    """

    model: nn.Module | Builder
    train: Examples
    validation: Examples
    test: Examples
    metrics: Mapping[str, Metric] = field(default_factory=lambda: {"accuracy": accuracy})
    loss: Callable[..., Tensor] = cross_entropy
    collate: Collate | None = None
    varying: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    distillation: Callable[[Nest, Nest, float], Tensor] | None = None
    exclude: Sequence[str] = ()
    parts: Sequence[str] = ()
    augment: Callable[[Nest], Nest] | None = None
    parent: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    name: str = "task"
    source: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_form(self)
        if isinstance(self.model, nn.Module):
            let_pickle(self.model)
        if isinstance(self.train, DataLoader):
            training = {"batch_size": self.train.batch_size, **self.parent.get("training", {})}
            self.parent = {**self.parent, "training": training}

    @property
    def searches_architecture(self) -> bool:
        """Whether the model is made from a plan, so that its architecture can be searched."""
        return not isinstance(self.model, nn.Module)

    @property
    def first_metric(self) -> str:
        """The name of the metric that is shown where one must stand for all."""
        return next(iter(self.metrics))

    @property
    def is_ready(self) -> bool:
        """Whether the model is made by raysearch itself, of a plan of any of its families."""
        return isinstance(self.model, ReadyBuilder)

    def decoded(self, architecture: Mapping[str, Any]) -> Architecture:
        """The plan of a constant architecture, as ``build`` takes it.

        Raises:
            ValueError: it is none of raysearch's families, and the model is not made by the user's function.
        """
        return decode_architecture(architecture, OwnPlan if self.function else None)

    @property
    def function(self) -> Callable[[Any], nn.Module] | None:
        """The user's function that makes the model; None where it is a module, or raysearch's own."""
        if self.is_ready or not self.searches_architecture:
            return None
        return cast("Callable[[Any], nn.Module]", self.model)

    def build(self, plan: Architecture | None = None) -> nn.Module:
        """A model of its own for the caller: made from the plan, or a copy of the given one with its weights.

        Raises:
            ValueError: a plan for a model that does not take one.
        """
        if not isinstance(self.model, nn.Module):
            return make(self.model, plan)
        if plan is not None:
            raise UserError(
                "the task's model is fixed: leave the architecture out of the space and the parent"
            )
        return copy_of(self.model)

    def example(self, n: int = 1, split: str = "train") -> Batch:
        """The first ``n`` examples of a split as a batch (inputs, targets)."""
        examples = batches(getattr(self, split), n, collate=self.collate)
        return attempt(lambda: next(examples), "reading an example")

    def example_input(self, n: int = 1) -> Nest:
        """The inputs of the first ``n`` training examples."""
        return self.example(n)[0]

    def smoothed_loss(self, label_smoothing: float) -> Callable[[Nest, Nest], Tensor]:
        """The loss with its labels smoothed; as it is where that is 0."""
        return partial(self.loss, label_smoothing=label_smoothing) if label_smoothing else self.loss


def make(builder: Builder, plan: Architecture | None) -> nn.Module:
    """What a function makes of a plan; without one, a function or class that needs no argument gets none.

    Raises:
        UserError: it fails, or makes no module.
    """
    try:
        inspect.signature(builder).bind()
    except TypeError:
        alone = False
    else:
        alone = plan is None
    arguments = () if alone else (plan.given if isinstance(plan, OwnPlan) else plan,)
    made: Any = attempt(lambda: builder(*arguments), "making the model")
    if not isinstance(made, nn.Module):
        raise UserError(f"the model's function gives a {type(made).__name__}: let it give a torch module")
    return made
