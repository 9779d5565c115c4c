"""Metrics of networks that inputs may leave early, and what such a network costs in the mean.

A variant that is run to its end costs in the mean what it costs: so both kinds stand on one front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

from raysearch.metrics import MEAN_LATENCY
from raysearch.networks.capture import signature
from raysearch.networks.exits import Exits
from raysearch.networks.nests import concatenate
from raysearch.search_spaces.plans import TrialPlan
from raysearch.trainables.data.batches import Batch
from raysearch.trainables.evaluation import evaluate, predictions, score
from raysearch.trainables.exits.labels import labels_of
from raysearch.trainables.exits.rule import ExitRule, set_rule, share_for
from raysearch.trainables.task import Task

Costs = Mapping[str, tuple[float, float]]
"""By target, the milliseconds of an input that leaves early and of one that does not."""


class Leaving(nn.Module):
    """A network with its rule: it gives what its files give. Both outputs are computed in any case.

    Args:
        network: as deployed, whose outputs are ``Exits``.
        rule: when an input leaves.
    """

    def __init__(self, network: fx.GraphModule, rule: ExitRule) -> None:
        super().__init__()
        self.network, self.rule = network, rule

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Inputs as the network takes them -> of each the logits of where it leaves, (n, classes)."""
        return self.rule.outputs(self.network(*args, **kwargs))


def may_leave(module: fx.GraphModule) -> bool:
    """Whether the outputs of a captured network are those of an exit and of its end."""
    return signature(module).out_spec.context is Exits


def evaluated(
    module: nn.Module, task: Task, plan: TrialPlan, costs: Costs
) -> tuple[dict[str, float], ExitRule | None]:
    """The task's metrics on the validation split, where each input is given the output that it is due.

    Args:
        module: on its device.
        task: gives the split and the metrics.
        plan: its budget decides who leaves.
        costs: on the targets; a budget is kept on each whose costs are known.

    Returns:
        The metrics, and the rule: None of a network that is run to its end.
    """
    if not plan.may_exit:  # nothing is kept but what the metrics keep
        return evaluate(module, task.validation, task.metrics, task.collate), None
    predicted = list(predictions(module, task.validation, task.collate))
    if not predicted or not isinstance(predicted[0][0], Exits):
        return score(predicted, task.metrics), None
    exits: Exits = concatenate([outputs for outputs, _ in predicted])
    budget = plan.training.exit_budget
    rule = set_rule(exits, labels_of(predicted), share_for(budget, costs) if budget else None)
    left: Iterable[Batch] = ((rule.outputs(outputs), targets) for outputs, targets in predicted)
    return score(left, task.metrics), rule


def costs_of(measurements: Sequence[Mapping[str, Any]]) -> Costs:
    """What the latest measurement on each target says."""
    return {
        m["target"]: (m.get("early_ms", m["latency_ms"]), m["latency_ms"])
        for m in measurements
        if "latency_ms" in m
    }


def mean_latencies(costs: Costs, share: float) -> dict[str, float]:
    """The mean latency on each target, by its metric's key, where a share of the inputs leaves early.

    What is not known, as where nothing was measured, is left out.
    """
    return {
        f"{MEAN_LATENCY}/{target}": share * early + (1 - share) * whole
        for target, (early, whole) in costs.items()
        if not math.isnan(whole)
    }
