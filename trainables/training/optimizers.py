"""The optimiser of a network in training, and how gradients become its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysearch.search_spaces.training import TrainingPlan, factor_of


def new_optimizer(module: nn.Module, training: TrainingPlan) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum, that decays weights alone.

    Biases, norms and the quantisers' steps are one-dimensional and do not decay. Parameters whose factor on
    the learning rate differs are groups of their own, each with that ``factor``.

    Args:
        module: a network, or its captured graph, whose parameters have the network's own names.
        training: the plan; a ``momentum`` of 0 is plain SGD.
    """
    factors = {p: factor_of(name, training.layer_lr) for name, p in module.named_parameters()}
    groups = [
        {"params": [p for p in factors if factors[p] == factor and (p.dim() > 1) == decays], "factor": factor}
        | {"weight_decay": training.weight_decay if decays else 0.0}
        for factor in dict.fromkeys(factors.values()) or (1.0,)
        for decays in (True, False)
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.lr)
    momentum = training.momentum
    return torch.optim.SGD(groups, lr=training.lr, momentum=momentum, nesterov=momentum > 0)


@dataclass(frozen=True)
class Stepping:
    """How gradients become steps.

    Args:
        clip_norm: the norm that a step's gradient is scaled down to where it is larger; 0: none.
        accumulate: batches whose gradients one step takes together, >= 1.
        scaler: keeps the gradients of float16 from vanishing; None: they are not scaled.
        after: called after each step.
    """

    clip_norm: float = 5.0
    accumulate: int = 1
    scaler: torch.amp.GradScaler | None = None
    after: Callable[[], None] | None = None


class Descent:
    """The steps of one epoch.

    Args:
        module: whose gradients are clipped.
        optimizer: over its parameters; a group's rate is multiplied by its ``factor``, where it has one.
        stepping: how gradients become steps.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, stepping: Stepping) -> None:
        self._module, self._optimizer, self._stepping = module, optimizer, stepping
        self._batches, self._examples = 0, 0

    def set_rate(self, lr: float) -> None:
        """Set the learning rate of the next step."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group.get("factor", 1.0)

    def take(self, loss: Tensor, examples: int) -> None:
        """Take in a batch's gradient, and a step if it is the last of a step's batches.

        Args:
            loss: the mean over the batch; where it depends on no weight that is trained, nothing happens.
            examples: in the batch; a step's gradient is the mean over all of its examples.
        """
        if not loss.requires_grad:
            return
        if not self._batches:
            self._optimizer.zero_grad(set_to_none=True)
        if self._stepping.accumulate > 1:
            loss = loss * examples
        scaler = self._stepping.scaler
        (scaler.scale(loss) if scaler else loss).backward()  # type: ignore[no-untyped-call]
        self._batches, self._examples = self._batches + 1, self._examples + examples
        if self._batches == self._stepping.accumulate:
            self.step()

    def step(self) -> None:
        """Take a step by the batches since the last one, if there are any."""
        if not self._batches:
            return
        parameters = list(self._module.parameters())
        scaler, clip_norm = self._stepping.scaler, self._stepping.clip_norm
        if scaler:
            scaler.unscale_(self._optimizer)
        if self._stepping.accumulate > 1:
            for p in parameters:
                if p.grad is not None:
                    p.grad /= self._examples
        if clip_norm:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        if scaler:
            scaler.step(self._optimizer)
            scaler.update()
        else:
            self._optimizer.step()
        if self._stepping.after:
            self._stepping.after()
        self._batches = self._examples = 0
