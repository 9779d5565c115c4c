"""All that a plan takes out of a network: at once, or step by step while the network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from raysearch.search_spaces.plans import TrialPlan
from raysearch.search_spaces.pruning.steps import share_at, steps_by
from raysearch.trainables.pruning.evidence import looked_at
from raysearch.trainables.pruning.removal import History, prune
from raysearch.trainables.pruning.sparsity import sparsify
from raysearch.trainables.task import Task


def compress(
    model: nn.Module,
    task: Task,
    plan: TrialPlan,
    seed: int,
    *,
    shares: tuple[float | None, float | None] = (1.0, 1.0),
    widths: Mapping[str, int] | None = None,
) -> History | None:
    """Remove channels and set weights to zero, in place.

    Args:
        model: with the weights that the criteria look at.
        task: gives the examples and the loss.
        plan: of what is taken out.
        seed: decides at which examples a search looks.
        shares: of the ratios, in (0, 1]: those of the channels and those of the weights; None takes nothing
            more out. Heads go at 1.
        widths: of the prunable groups before any channel went, where some have gone.

    Returns:
        The channels that went; None where the plan prunes none.
    """
    history = None
    if plan.pruning is not None and shares[0] is not None:
        history = prune(
            model,
            task.example_input(),
            replace(plan.pruning, ratios=_scaled(plan.pruning.ratios, shares[0])),
            exclude=task.exclude,
            examples=looked_at(task, plan.pruning.criterion, seed),
            collate=task.collate,
            loss=task.loss,
            originally=widths or {},
            with_heads=shares[0] == 1,
        )
    if plan.sparsity is not None and shares[1] is not None:
        sparsify(
            model,
            replace(plan.sparsity, ratios=_scaled(plan.sparsity.ratios, shares[1])),
            exclude=task.exclude,
            examples=looked_at(task, plan.sparsity.criterion, seed),
            collate=task.collate,
            loss=task.loss,
        )
    return history


def is_stepped(plan: TrialPlan) -> bool:
    """Whether a plan takes out what it does in several steps."""
    return any(count > 1 for count in _steps(plan))


def shares_by(plan: TrialPlan, epoch: int, epochs: int) -> tuple[float | None, float | None]:
    """The shares of the ratios of channels and of weights that are newly reached before an epoch, or None.

    Args:
        plan: of what is taken out.
        epoch: from 1 on.
        epochs: in float.
    """
    found: list[float | None] = []
    for count in _steps(plan):
        step = steps_by(epoch, epochs, count)
        new = epoch == 1 or step > steps_by(epoch - 1, epochs, count)
        found.append(share_at(step, count) if new else None)
    return found[0], found[1]


def _steps(plan: TrialPlan) -> tuple[int, int]:
    return (plan.pruning.steps if plan.pruning else 1, plan.sparsity.steps if plan.sparsity else 1)


def _scaled(ratios: Mapping[str, float], share: float) -> dict[str, float]:
    return {part: ratio * share for part, ratio in ratios.items()}
