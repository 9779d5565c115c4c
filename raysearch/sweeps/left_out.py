"""What each part of a network is worth: how well the network does with the part's output left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ray
import torch
from torch import nn

from raysearch.basics.failures import UserError, failure, first_line
from raysearch.basics.parts import module_of
from raysearch.networks import nests
from raysearch.record.run_record import RunRecord
from raysearch.trainables.data.batches import Collate, Examples
from raysearch.trainables.evaluation import Metric, evaluate
from raysearch.trainables.keeping.references import reference_weights
from raysearch.trainables.setup import TrialSetup

if TYPE_CHECKING:
    from raysearch.runs.session import Session

_EVENT = "left_out"


def measure_left_out(session: Session, parts: Sequence[str]) -> None:
    """Journal what the parts are worth, or why that is not known: the parent evaluated without each, once.

    The event ``left_out`` has ``accuracy`` and ``without`` {part: accuracy}, or a ``reason`` why not.
    """
    if left_out_of(session.record):
        return
    try:
        found = session.remotely(parent_without, parts)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        reason = first_line(cause) if isinstance(cause, ValueError) else failure(cause)
        found = {"reason": f"no importances by leaving parts out: {reason}", **session.kept(error, "parent")}
    session.write(_EVENT, trial="parent", **found)


def left_out_of(record: RunRecord) -> dict[str, Any]:
    """What the journal says of parts left out: ``accuracy`` and ``without``, a ``reason``, or nothing yet.

    The accuracy is the task's first metric, whatever its name and direction.
    """
    found = next((e for e in record.others if e["event"] == _EVENT), {})
    return {key: found[key] for key in ("accuracy", "without", "reason") if key in found}


def parent_without(setup: TrialSetup, parts: Sequence[str]) -> dict[str, Any]:
    """The trained parent's first metric on the validation split, whole and without each of several parts.

    Returns:
        ``accuracy`` (that metric, whatever its name), and ``without`` by part.

    Raises:
        ValueError: a part cannot be left out.
        LostReference: the parent's weights are missing or damaged.
    """
    model = setup.task.build(setup.space.variant(setup.references["parent"]).plan.architecture)
    model.load_state_dict(reference_weights(setup, "parent"))
    task, name = setup.task, setup.task.first_metric
    metric = {name: task.metrics[name]}
    return {
        "accuracy": evaluate(model, task.validation, metric, task.collate)[name],
        "without": metric_without(model, parts, task.validation, metric[name], task.collate),
    }


def metric_without(
    model: nn.Module,
    parts: Sequence[str],
    examples: Examples,
    metric: Metric,
    collate: Collate | None = None,
) -> dict[str, float]:
    """A network's metric without each of its parts, whose output is replaced by zeros.

    A part may return one tensor, or a nest of several (a recurrent layer does); one that is only a container,
    such as a ModuleList, is left out by leaving out what it holds.

    Args:
        model: trained; it is left as it was.
        parts: names of submodules; an attention's heads are its whole output.
        examples: to measure on, none of them trained on.
        metric: of outputs and targets.
        collate: makes a batch of a list of examples.

    Raises:
        ValueError: a part is never called by itself, its output holds no tensor, or the metric without it is
            not finite.
    """
    return {part: _without(model, part, examples, metric, collate) for part in parts}


def _without(
    model: nn.Module, part: str, examples: Examples, metric: Metric, collate: Collate | None
) -> float:
    replaced = 0

    def replace(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal replaced
        nests.see_into(output)
        replaced += len(nests.tensors(output))
        return nests.map_tensors(torch.zeros_like, output)

    handles = [m.register_forward_hook(replace) for m in _callable(model.get_submodule(module_of(part)))]
    try:
        found = evaluate(model, examples, {"metric": metric}, collate)["metric"]
    finally:
        for handle in handles:
            handle.remove()
    if not replaced:
        raise UserError(
            f"the part {part!r} cannot be left out: the network never calls it by itself, or it returns no "
            "tensor; sweep the layers inside it, or give importances as numbers"
        )
    if not math.isfinite(found):
        raise UserError(f"without the part {part!r} the metric is {found}: give importances as numbers")
    return found


def _callable(module: nn.Module) -> Iterator[nn.Module]:
    """The module, or what a container without a forward of its own holds."""
    if type(module).forward is not nn.Module.forward:
        yield module
        return
    for child in module.children():
        yield from _callable(child)
