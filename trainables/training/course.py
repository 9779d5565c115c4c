"""A trial's network on its way through the epochs: what is taken out of it when, in which bits it trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import fx, nn

from raysearch.search_spaces.plans import TrialPlan
from raysearch.trainables.export.deployment import as_deployed, calibration_inputs
from raysearch.trainables.pruning import History, prune_like
from raysearch.trainables.pruning.progressive import compress, is_stepped, shares_by
from raysearch.trainables.pruning.removal import group_widths
from raysearch.trainables.quantization.lowering import lowered
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.start import eight_until, first_network, float_epochs, unpruned_network
from raysearch.trainables.training.distillation import BatchLoss
from raysearch.trainables.training.resizing import size_at
from raysearch.trainables.training.trainer import Trainer


class Course:
    """A trial's network, first as it is measured before training, then as each epoch leaves it.

    Args:
        setup: what all trials share.
        name: the trial's.
        plan: what its config decodes to.
        seed: of all that is drawn.
        device: where to train.
    """

    def __init__(
        self, setup: TrialSetup, name: str, plan: TrialPlan, seed: int, device: torch.device
    ) -> None:
        self._setup, self._name, self._plan, self._seed, self._device = setup, name, plan, seed, device
        first = first_network(setup, name, plan, seed)
        self.history: History | None = first.history
        self.notes = first.notes
        self.float_epochs = float_epochs(setup, plan, whole=first.whole)
        self.quantized = False
        self.trainer = self._new_trainer(first.module)

    @property
    def module(self) -> nn.Module:
        """The network as it stands: what is evaluated and deployed."""
        return self.trainer.result

    def deployed(self) -> fx.GraphModule:
        """The network as it stands, as it will be exported: itself where it is quantised, else a copy."""
        if self.quantized:
            return cast(fx.GraphModule, self.module)
        return self._as_deployed(self.module, self._plan)

    def begin(self, epoch: int) -> None:
        """Before an epoch: take out what a plan of several steps takes out now, go on to fewer bits."""
        if epoch <= self.float_epochs and is_stepped(self._plan):
            shares = shares_by(self._plan, epoch, self.float_epochs)
            if shares != (None, None):
                self._take_out(epoch, shares)
        if epoch > self.float_epochs and self._plan.bits.quantized and not self.quantized:
            self._quantize(epoch)
        elif self.quantized and epoch == self._eight_until + 1:
            self._lower_bits()

    def train(self, epoch: int, loss: BatchLoss, lr: Callable[[float], float]) -> None:
        """Train for an epoch that has begun, with what torch's generator gives.

        Args:
            epoch: from 1 on.
            loss: of the trainer.
            lr: the learning rate at a share of the epoch in [0, 1].
        """
        size = 1.0
        if not self.quantized:
            size = size_at(self._plan.training.first_size, epoch, self.float_epochs)
        self.trainer.epoch(self._setup.task, loss, lr, self._seed + epoch, size=size)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, of types that ``torch.load`` reads without pickle."""
        return {
            **self.trainer.state(),
            "quantized": self.quantized,
            "history": json.dumps(self.history),
        }

    def load(self, state: Mapping[str, Any], epoch: int) -> None:
        """Go on from a state, that after an epoch >= 0."""
        if epoch and is_stepped(self._plan):
            self.history = json.loads(state["history"])
            task = self._setup.task
            network = task.build(self._plan.architecture)
            self.trainer = self._new_trainer(prune_like(network, task.example_input(), self.history or []))
        if state["quantized"]:
            self._quantize(epoch)
        self.trainer.load(state)

    def _new_trainer(self, module: nn.Module) -> Trainer:
        sparse = self._plan.sparsity is not None
        return Trainer(module, self._plan.training, self._device, sparse=sparse)

    def _take_out(self, epoch: int, shares: tuple[float | None, float | None]) -> None:
        network = self.trainer.module
        if epoch == 1:  # what was measured has lost all of it
            network, _ = unpruned_network(self._setup, self._name, self._plan, self._seed)
            self.history = None
        torch.manual_seed(self._seed + epoch)
        gone = compress(network, self._setup.task, self._plan, self._seed, shares=shares, widths=self._widths)
        self.history = [*(self.history or []), *(gone or [])] or None
        self.trainer = self._new_trainer(network)

    @cached_property
    def _widths(self) -> dict[str, int]:
        """The channels and heads of all groups before any went."""
        task = self._setup.task
        if self._plan.pruning is None:
            return {}
        return group_widths(task.build(self._plan.architecture), task.example_input(), task.exclude)

    @property
    def _eight_until(self) -> int:
        return eight_until(self._setup.epochs, self._plan.training, self.float_epochs)

    def _as_deployed(self, network: nn.Module, plan: TrialPlan) -> fx.GraphModule:
        setup = self._setup
        return as_deployed(network, setup.task, plan, setup.seed, *setup.rounding)

    def _quantize(self, epoch: int) -> None:
        """Begin the quantised part, or what it has come to by an epoch."""
        self._in_float = self.module
        bits = self._plan.bits if epoch > self._eight_until else self._plan.bits.at_least(8)
        self.trainer = self._new_trainer(self._as_deployed(self._in_float, replace(self._plan, bits=bits)))
        self.quantized = True

    def _lower_bits(self) -> None:
        """From the 8 bits of the quantised part's first half to those of the plan."""
        fresh = self._as_deployed(self._in_float, self._plan).to(self._device)
        inputs = calibration_inputs(self._setup.task, self._setup.seed)
        self.trainer = self._new_trainer(lowered(cast(fx.GraphModule, self.module), fresh, inputs))
