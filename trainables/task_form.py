"""Whether a task's fields have the right form; no model is run, and one example of a split is looked at."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.metrics import check_names
from raysearch.networks.nests import names, tensors
from raysearch.search_spaces.keys import as_mapping
from raysearch.trainables.data.batches import count
from raysearch.trainables.evaluation import is_running

if TYPE_CHECKING:
    from raysearch.trainables.task import Task

SPLITS = ("train", "validation", "test")


def check_form(task: Task) -> None:
    """Refuse a task with a field that cannot be right.

    Raises:
        ValueError: in one sentence that says what would be right.
    """
    if not callable(task.model):
        raise UserError(f"model is {task.model!r}: give a torch module or a function that makes one")
    if task.pretrained and task.searches_architecture:
        raise UserError("pretrained=True needs a module with its weights, and model is a function")
    for key in task.parent:
        if key not in ("architecture", "training"):
            raise UserError(f"parent has the key {key!r}: it holds only 'architecture' and 'training'")
    for what in ("loss", "collate", "distillation", "augment"):
        value = getattr(task, what)
        if not callable(value) and not (value is None and what != "loss"):
            raise UserError(f"{what} is {value!r}: give a function")
        if inspect.isclass(value):
            raise UserError(f"{what} is the class {value.__name__}: give an object of it")
    _check_metrics(task.metrics)
    _check_examples(task)
    _check_varying(task)
    for what in ("exclude", "parts"):
        value = getattr(task, what)
        if isinstance(value, str) or not all(isinstance(name, str) for name in value):
            raise UserError(f"{what} is {value!r}: give a list of names of layers or parts")
    if isinstance(task.model, nn.Module):
        check_excluded(task, task.model)


def check_excluded(task: Task, model: nn.Module) -> None:
    """Refuse names in the task's ``exclude`` that a model does not have.

    Raises:
        ValueError: with the nearest name that it has.
    """
    known = [name for name, _ in model.named_modules() if name]
    for name in task.exclude:
        if name not in known:
            raise UserError(f"exclude has {name!r}, no layer of the model; {did_you_mean(str(name), known)}")


def check_label_smoothing(task: Task, settings: Iterable[Mapping[str, Any]]) -> None:
    """Refuse smoothed labels for a loss that cannot smooth them.

    Args:
        task: its loss is looked at.
        settings: of training; constants or Tune's domains.

    Raises:
        ValueError: any sets ``label_smoothing``, and the loss has no such argument.
    """
    if _takes(task.loss, "label_smoothing") or not any(s.get("label_smoothing", 0) != 0 for s in settings):
        return
    name = getattr(task.loss, "__name__", type(task.loss).__name__)
    raise UserError(
        f"training/label_smoothing is set, but the task's loss {name} has no argument label_smoothing: leave "
        "it out, or give a loss that takes it"
    )


def _check_metrics(metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise UserError(f'metrics is {metrics!r}: give a mapping of names, such as {{"accuracy": accuracy}}')
    check_names(metrics)
    for name, metric in metrics.items():
        if inspect.isclass(metric):
            raise UserError(f"metrics[{name!r}] is the class {metric.__name__}: give an object of it")
        if not callable(metric) and not is_running(metric):
            raise UserError(f"metrics[{name!r}] is {metric!r}: give a function of outputs and targets")


def _check_examples(task: Task) -> None:
    """Every split has examples of one form, and of one shape unless they are collated or vary."""
    free = bool(task.collate or task.varying)
    free = free or any(isinstance(getattr(task, split), DataLoader) for split in SPLITS)
    forms = {}
    for split in SPLITS:
        examples = getattr(task, split)
        try:
            number = count(examples)
            inputs = task.example(split=split)[0] if number else None
        except UserError as error:
            raise UserError(f"{split}: {error}") from error
        if not number:
            raise UserError(f"{split} is empty: give at least one example")
        if not tensors(inputs):
            raise UserError(f"{split}: the inputs of an example hold no tensor: {inputs!r:.80}")
        for leaf in pytree.tree_leaves(inputs):
            if not isinstance(leaf, Tensor):
                raise UserError(
                    f"{split}: the inputs of an example hold {leaf!r:.80}, which is no tensor: leave it out, "
                    "or fix it inside the model"
                )
        shapes = {name: tuple(t.shape[1:]) for name, t in _named(inputs).items()}
        forms[split] = dict.fromkeys(shapes, ()) if free else shapes
        if forms[split] != forms["train"]:
            own, others = (", ".join(f"{n} {s}" for n, s in forms[k].items()) for k in (split, "train"))
            raise UserError(
                f"an example of {split} has the inputs {own}, one of train {others}: make them alike, or "
                "pad batches by collate= and name the axis that varies by varying="
            )


def _check_varying(task: Task) -> None:
    known = _named(task.example_input())
    for name, axes in as_mapping(task.varying, "varying").items():
        if name not in known:
            raise UserError(f"varying names {name!r}, which is no input; {did_you_mean(str(name), known)}")
        last = known[name].dim() - 1
        for axis, word in _axes(axes, name).items():
            if not isinstance(axis, int) or not 1 <= axis <= last:
                raise UserError(f"varying[{name!r}] has the axis {axis!r}: give one from 1 to {last}")
            if not (isinstance(word, str) and word.isidentifier()):
                raise UserError(f"varying[{name!r}][{axis}] is {word!r}: give the axis a name")


def _axes(axes: Any, name: str) -> Mapping[Any, Any]:
    if not isinstance(axes, Mapping):
        raise UserError(f"varying[{name!r}] is {axes!r}: give a mapping of axes to names")
    return axes


def _named(inputs: Any) -> dict[str, Any]:
    return dict(zip(names(inputs, "input"), tensors(inputs), strict=True))


def _takes(function: Callable[..., Any], argument: str) -> bool:
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters
    except (TypeError, ValueError):  # some built-in functions have none to look at
        return False
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
