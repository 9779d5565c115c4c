"""What a trial begins with: its network, inherited and pruned or taken over, and its schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from safetensors import SafetensorError
from torch import nn

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.search_spaces.plans import TrialPlan
from raysearch.search_spaces.training import TrainingPlan
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.inheritance import Inherited, inherit
from raysearch.trainables.keeping.references import read_weights, reference_weights
from raysearch.trainables.pruning import History
from raysearch.trainables.pruning.progressive import compress
from raysearch.trainables.setup import Kept, TrialSetup
from raysearch.trainables.training.schedule import Schedule, cycles

_ROUNDING = 0.01


@dataclass(frozen=True)
class First:
    """A trial's network before training.

    Attributes:
        module: inherited and pruned.
        history: of its pruning; None: there was none.
        whole: whether it is the parent's own with all its weights.
        inherited: the share of the weights of a searched architecture, before pruning, that are the parent's;
            None where it begins without a parent, or is of the parent's architecture.
    """

    module: nn.Module
    history: History | None
    whole: bool
    inherited: float | None

    @property
    def notes(self) -> list[str]:
        """What there is to say of it."""
        if self.inherited is None:
            return []
        return [f"{self.inherited:.0%} of its weights began as the parent's trained ones"]


def first_network(setup: TrialSetup, name: str, plan: TrialPlan, seed: int) -> First:
    """The network before training.

    Args:
        setup: what all trials share.
        name: the trial's.
        plan: what its config decodes to.
        seed: of what weights are not inherited.
    """
    model, inherited = unpruned_network(setup, name, plan, seed)
    whole = inherited is not None and inherited.whole
    share = None if inherited is None or whole else inherited.share
    history = compress(model, setup.task, plan, seed)
    return First(model, history, whole and not history and plan.sparsity is None, share)


def unpruned_network(
    setup: TrialSetup, name: str, plan: TrialPlan, seed: int
) -> tuple[nn.Module, Inherited | None]:
    """The network with the weights that it inherits, before anything is taken out, and what it inherited."""
    torch.manual_seed(seed)
    model = setup.task.build(plan.architecture)
    return model, _inherit(setup, name, model)


def _inherit(setup: TrialSetup, name: str, model: nn.Module) -> Inherited | None:
    """Start from the parent's trained weights; None where there are none.

    Raises:
        LostReference: they were there.
    """
    if setup.task.pretrained:
        return Inherited(1.0, True)
    if name in setup.from_scratch:
        return None
    trained = "parent" in setup.made or storage.exists(setup.reference_weights("parent"))
    return inherit(model, reference_weights(setup, "parent")) if trained else None


def taken_over(setup: TrialSetup, name: str, module: nn.Module) -> Kept | None:
    """The same network as it was trained before, its weights loaded; None where there is none.

    It is the same if it gives the metrics that it gave there, up to what a runtime rounds differently.

    Raises:
        StorageError: storage does not answer.
    """
    kept, task = setup.kept.get(name), setup.task
    if kept is None:
        return None
    fresh = {key: value.clone() for key, value in module.state_dict().items()}
    try:
        module.load_state_dict(read_weights(storage.folder_of(kept.weights)))
        found = evaluate(module, task.validation, task.metrics, task.collate)
        known = kept.curve[setup.last_step(name)]
        if all(math.isclose(found[m], known[m], rel_tol=_ROUNDING) for m in found):
            return kept
    except StorageError:
        raise
    except (RuntimeError, OSError, KeyError, ValueError, SafetensorError):
        pass  # another network, or no whole file
    module.load_state_dict(fresh)
    return None


def float_epochs(setup: TrialSetup, plan: TrialPlan, *, whole: bool) -> int:
    """Epochs trained in float; the parent's own weights go straight to the quantised part."""
    if not plan.bits.quantized:
        return setup.epochs
    if whole:
        return 0
    quantized = max(1, round(setup.epochs * plan.training.quantized_share))
    return max(0, setup.epochs - quantized)


def eight_until(epochs: int, training: TrainingPlan, in_float: int) -> int:
    """The last epoch in which no layer has fewer than 8 bits: that of the float part, or half of the rest."""
    return in_float if training.bit_stages == 1 else in_float + (epochs - in_float) // 2


def schedule_of(setup: TrialSetup, name: str, training: TrainingPlan, in_float: int) -> Schedule:
    """The parts of a trial's training, the first of them of so many epochs; cycles for a reference."""
    schedule = partial(Schedule, form=training.schedule, warmup=training.warmup)
    if name not in setup.from_scratch:
        eight = eight_until(setup.epochs, training, in_float)
        return schedule(tuple(dict.fromkeys((in_float, eight, setup.epochs))))
    if name == "parent" and setup.task.pretrained:
        return schedule((1,))  # it is evaluated once
    if name == "parent" and setup.parent_epochs is not None:
        return schedule((setup.parent_epochs,))
    directions = {metric: setup.higher_is_better(metric) for metric in setup.task.metrics}
    judged = next((metric for metric, higher in directions.items() if higher is not None), None)
    if judged is None:  # nothing says which way is better
        return schedule((setup.epochs,))
    return schedule(cycles(setup.epochs), judged, bool(directions[judged]))
