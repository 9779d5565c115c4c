"""Nests of tensors as what runtimes take, and what they give as nests again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from raysearch.basics.failures import UserError
from raysearch.networks.nests import Nest, names, tensors
from raysearch.trainables.evaluation import Function


class Compiled(Protocol):
    """A model that a runtime has loaded."""

    def __call__(self, feed: Any) -> tuple[NDArray[Any], ...]:
        """The outputs of a batch of inputs by name."""


def feed_of(inputs: Nest) -> dict[str, NDArray[Any]]:
    """A batch of inputs by the names that they have in a file, in the order of the network's arguments.

    Raises:
        UserError: a tensor is of a type that no runtime takes from outside, such as bfloat16.
    """
    return {
        name: _array(name, tensor)
        for name, tensor in zip(names(inputs, "input"), tensors(inputs), strict=True)
    }


def function_of(compiled: Compiled, outputs_like: Nest) -> Function:
    """A compiled model as a function of an inputs nest.

    Args:
        compiled: a model file in its runtime.
        outputs_like: what the network itself gives for any batch: the form of the outputs.
    """
    leaves, spec = pytree.tree_flatten(outputs_like)

    def function(inputs: Nest) -> Nest:
        given: Iterator[Tensor] = map(torch.from_numpy, compiled(feed_of(inputs)))
        found = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return pytree.tree_unflatten(found, spec)

    return function


def _array(name: str, tensor: Tensor) -> NDArray[Any]:
    try:
        return np.ascontiguousarray(tensor.detach().cpu().numpy())
    except TypeError as error:
        raise UserError(
            f"{name} is of type {tensor.dtype}, which runtimes do not take: give float32, float16 or integers"
        ) from error
