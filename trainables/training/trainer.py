"""A network in training: its weights, its optimiser, and what else goes on from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from raysearch.networks.nests import Nest, call
from raysearch.search_spaces.teachers import TeacherPlan
from raysearch.search_spaces.training import TrainingPlan
from raysearch.trainables.exits.loss import over_exits
from raysearch.trainables.pruning.sparsity import hold_zeros
from raysearch.trainables.task import Task
from raysearch.trainables.training.averaging import WeightAverage
from raysearch.trainables.training.checkpointing import recomputing
from raysearch.trainables.training.distillation import BatchLoss, distillation_loss, plain_loss
from raysearch.trainables.training.epoch import train_epoch
from raysearch.trainables.training.mixup import mixed
from raysearch.trainables.training.optimizers import Stepping, new_optimizer
from raysearch.trainables.training.precision import check_device, gradient_scaler, in_precision
from raysearch.trainables.training.resizing import resized


class Trainer:
    """One part of a training, in float or quantised.

    Args:
        module: the network, or its captured graph with quantisers; it is moved to the device and trained in
            place.
        plan: how.
        device: where.
        sparse: whether weights that are zero stay so.

    Raises:
        ValueError: the device does not have the plan's precision.
    """

    def __init__(
        self, module: nn.Module, plan: TrainingPlan, device: torch.device, *, sparse: bool = False
    ) -> None:
        check_device(plan.precision, device)
        self.module, self._plan, self._device = module.to(device), plan, device
        self._optimizer = new_optimizer(self.module, plan)
        if sparse:
            hold_zeros(self._optimizer, self.module)
        self._scaler = gradient_scaler(plan.precision, device)
        self._average = WeightAverage(self.module, plan.ema) if plan.ema else None
        forward = recomputing(self.module) if plan.checkpointing else call
        self._forward = in_precision(forward, plan.precision, device)

    @property
    def result(self) -> nn.Module:
        """The network whose metrics count and that is deployed: the average, where one is kept."""
        return self.module if self._average is None else self._average.module

    def epoch(
        self, task: Task, loss: BatchLoss, lr: Callable[[float], float], seed: int, *, size: float = 1.0
    ) -> float:
        """Train for one epoch, and return its mean loss.

        Args:
            task: gives the examples.
            loss: from ``loss``.
            lr: the learning rate at a share of the epoch in [0, 1].
            seed: of the order of the examples; all else is drawn by torch's own generator.
            size: the share of the inputs' size, in (0, 1]; see ``resized``.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        after = None if self._average is None else partial(self._average.update, self.module)
        return train_epoch(
            self.module,
            task.train,
            loss,
            self._optimizer,
            batch_size=self._plan.batch_size,
            lr=lr,
            generator=torch.Generator().manual_seed(seed),
            augment=task.augment if size == 1 else partial(_smaller, task.augment, size),
            collate=task.collate,
            device=self._device,
            stepping=Stepping(self._plan.clip_norm, self._plan.accumulate, self._scaler, after),
        )

    def loss(self, task: Task, teacher: nn.Module | None, taught: TeacherPlan) -> BatchLoss:
        """The loss of a batch, with what a teacher adds, in the plan's precision.

        Args:
            task: gives the loss of outputs and targets.
            teacher: on the device; None without one.
            taught: how much the teacher's outputs count.
        """
        own = over_exits(task.smoothed_loss(self._plan.label_smoothing), self._plan.exit_weight)
        make: Callable[..., BatchLoss] = partial(plain_loss, forward=self._forward)
        if teacher is not None:
            make = partial(
                distillation_loss,
                teacher=teacher,
                temperature=taught.temperature,
                weight=taught.weight,
                term=task.distillation,
                forward=self._forward,
                exit_weight=self._plan.exit_weight,
            )
        return mixed(make, own, self._plan.mixup) if self._plan.mixup else make(own)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, of types that ``torch.load`` reads without pickle."""
        found = {"module": self.module.state_dict(), "optimizer": self._optimizer.state_dict()}
        if self._scaler is not None:
            found["scaler"] = self._scaler.state_dict()
        if self._average is not None:
            found["average"] = self._average.state_dict()
        return found

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; other keys in it are left alone."""
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])


def _smaller(augment: Callable[[Nest], Nest] | None, size: float, inputs: Nest) -> Nest:
    return resized(augment(inputs) if augment else inputs, size)
