"""Learning from a teacher's outputs.

[1] G. Hinton, O. Vinyals, J. Dean. Distilling the Knowledge in a Neural Network. 2015.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysearch.basics.failures import UserError
from raysearch.networks.nests import Nest, call, tensors
from raysearch.trainables.evaluation import class_axes
from raysearch.trainables.exits.loss import over_exits

Loss = Callable[[Nest, Nest], Tensor]
BatchLoss = Callable[[nn.Module, Nest, Nest], Tensor]
Forward = Callable[[nn.Module, Nest], Nest]
Term = Callable[[Nest, Nest, float], Tensor]


def plain_loss(loss: Loss, forward: Forward = call) -> BatchLoss:
    """The task's own loss of a module on a batch (inputs, targets); ``forward`` runs the module."""
    return lambda module, inputs, targets: loss(forward(module, inputs), targets)


def distillation_loss(
    loss: Loss,
    teacher: nn.Module,
    *,
    temperature: float,
    weight: float,
    term: Term | None = None,
    forward: Forward = call,
    exit_weight: float = 1.0,
) -> BatchLoss:
    """The task's loss mixed with a term that draws the student's outputs to the teacher's.

    Args:
        loss: the task's own.
        teacher: gives outputs of the student's form; it is put into evaluation mode and not trained.
        temperature: > 0; see ``teachers_term``.
        weight: in [0, 1], the share of the teacher's term.
        term: of the student's outputs, the teacher's outputs and the temperature; ``teachers_term`` if left
            out.
        forward: runs the student and the teacher.
        exit_weight: of an early exit, which the teacher teaches too; see ``over_exits``.
    """
    teacher.eval()
    learnt_term = over_exits(teachers_term if term is None else term, exit_weight)

    def mixed(module: nn.Module, inputs: Nest, targets: Nest) -> Tensor:
        outputs = forward(module, inputs)
        with torch.no_grad():
            taught = forward(teacher, inputs)
        others = (taught, targets, temperature) if term is None else (taught, temperature)
        learnt = learnt_term(outputs, *others)
        return (1 - weight) * loss(outputs, targets) + weight * learnt

    return mixed


def teachers_term(outputs: Nest, taught: Nest, targets: Nest, temperature: float) -> Tensor:
    """How far the student's outputs are from the teacher's: the mean over their floating tensors.

    Logits of classes are compared by the divergence of their softened distributions [1], the mean over
    examples and positions, times the squared temperature, so that its gradients keep their size. Everything
    else (regression, the logit of a binary choice) is compared by the mean squared error, on which the
    temperature has no effect.

    Args:
        outputs: the student's.
        taught: the teacher's, of the same form.
        targets: of the batch.
        temperature: > 0.

    Raises:
        ValueError: the two differ in form, or no tensor is of floats.
    """
    own, other = tensors(outputs), tensors(taught)
    if [t.shape for t in own] != [t.shape for t in other]:
        given, wanted = ([tuple(t.shape) for t in ts] for ts in (own, other))
        raise UserError(
            f"the student's outputs have shapes {given} and the teacher's {wanted}: give the task a "
            "distillation= that compares them"
        )
    terms = [
        _distance(one, two, axis, temperature)
        for one, two, axis in zip(own, other, class_axes(outputs, targets), strict=True)
        if one.is_floating_point()
    ]
    if not terms:
        raise UserError("no output is of floats, so a teacher teaches nothing: leave the teacher out")
    return torch.stack(terms).mean()


def _distance(student: Tensor, teacher: Tensor, axis: int | None, temperature: float) -> Tensor:
    if axis is None:
        return functional.mse_loss(student, teacher)
    learnt = functional.log_softmax(student / temperature, dim=axis)
    wanted = functional.log_softmax(teacher / temperature, dim=axis)
    divergence = functional.kl_div(learnt, wanted, reduction="none", log_target=True).sum(axis)
    return temperature**2 * divergence.mean()
