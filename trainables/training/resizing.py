"""Inputs that are smaller at first, and grow while the network trains.

References:
    Tan, M., & Le, Q. V. (2021). EfficientNetV2: smaller models and faster training. (progressive learning)
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from raysearch.basics.failures import UserError, failure
from raysearch.networks import nests
from raysearch.networks.nests import Nest
from raysearch.search_spaces.architectures import Architecture
from raysearch.trainables.task import Task

_SPAN = 2 / 3  # of the float epochs, in which they grow: the rest is for inputs of the whole size
_MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}


def size_at(first_size: float, epoch: int, epochs: int) -> float:
    """The share of the inputs' size at an epoch of the float part: evenly from the first to 1.

    It is whole after two thirds of the epochs. Where it was in the last one alone, when the learning rate has
    fallen to nothing, four points of accuracy were lost on digits.

    Args:
        first_size: in (0, 1].
        epoch: from 1 on.
        epochs: of the float part.
    """
    span = math.ceil(_SPAN * epochs)
    if epoch >= span:
        return 1.0
    return first_size + (1 - first_size) * (epoch - 1) / (span - 1)


def resized(inputs: Nest, share: float) -> Nest:
    """The inputs with the axes behind batch and channels a share as long, interpolated; at least 1 long.

    Tensors that are no floats, or have no such axes, stay as they are.
    """
    return inputs if share == 1 else nests.map_tensors(lambda tensor: _resized(tensor, share), inputs)


def _resized(tensor: Tensor, share: float) -> Tensor:
    if not tensor.is_floating_point() or tensor.dim() not in _MODES:
        return tensor
    size = [max(1, round(length * share)) for length in tensor.shape[2:]]
    return functional.interpolate(tensor, size, mode=_MODES[tensor.dim()], align_corners=False)


def check_resizable(task: Task, plan: Architecture | None, share: float) -> None:
    """Refuse inputs of a size that are as they were, or that the model or the loss does not take.

    Args:
        task: is left as it is.
        plan: of an architecture, where the model is made from one.
        share: of the size, in (0, 1).

    Raises:
        UserError: in one sentence.
    """
    inputs, targets = task.example(2)
    smaller = resized(inputs, share)
    shapes = [tuple(t.shape) for t in nests.tensors(smaller)]
    if shapes == [tuple(t.shape) for t in nests.tensors(inputs)]:
        raise UserError(
            f"training/first_size leads to {share:.3g} of the size, and the inputs have no axes behind batch "
            "and channels that become shorter: leave it out"
        )
    try:
        task.loss(nests.call(task.build(plan).eval(), smaller), targets)
    except Exception as error:  # whatever the model raises
        raise UserError(
            f"training/first_size leads to inputs of shape {', '.join(map(str, shapes))}, which model and "
            f"loss do not take ({failure(error)}): leave it out"
        ) from error
