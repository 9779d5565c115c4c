"""A searchable perceptron: how many hidden layers, and the width of each.

Batch norm before the activation is that of Ioffe and Szegedy, "Batch Normalization" (ICML 2015); it costs
nothing when deployed, since it is folded into the layer before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from raysearch.basics.failures import UserError
from raysearch.search_spaces.architectures.numbered import (
    Form,
    NumberedPlan,
    check_one_of,
    check_range,
    decode_numbered,
)
from raysearch.search_spaces.arguments import integers, one_of
from raysearch.search_spaces.keys import as_truth

ACTIVATIONS = ("relu", "hard_swish", "gelu", "tanh")
# Beyond these no network is built: a slip of the pen would take all memory.
MAX_LAYERS, MAX_WIDTH = 24, 65536


@dataclass(frozen=True)
class LayerPlan:
    """One hidden layer."""

    width: int

    def __post_init__(self) -> None:
        check_range("width", self.width, MAX_WIDTH)


@dataclass(frozen=True)
class MLPPlan(NumberedPlan):
    """A sampled perceptron; its parts are "layer1", ..., "head".

    Args:
        layers: the hidden ones, in their order.
        activation: after each: "relu", "hard_swish", "gelu" or "tanh".
        norm: whether batch norm stands before each activation.
    """

    FORM: ClassVar[Form] = Form("mlp", "layers", "layer", MAX_LAYERS)

    layers: tuple[LayerPlan, ...]
    activation: str = "relu"
    norm: bool = True

    def __post_init__(self) -> None:
        check_one_of("activation", self.activation, ACTIVATIONS)

    def widths(self) -> dict[str, int]:
        """The width of each hidden layer."""
        return dict(zip(self.parts(), (layer.width for layer in self.layers), strict=False))

    def encode(self) -> dict[str, Any]:
        """The canonical config: only the layers it has."""
        return {**self.encode_numbered(), "activation": self.activation, "norm": self.norm}

    def enlarged(self, factor: int) -> MLPPlan:
        """The network of a larger teacher: every width times ``factor``."""
        return replace(self, layers=tuple(LayerPlan(layer.width * factor) for layer in self.layers))


def mlp(
    layers: int | tuple[int, int] = (1, 4),
    width: int | tuple[int, int] = (16, 256),
    width_step: int = 16,
    activation: str | tuple[str, ...] = ("relu",),
    norm: bool | tuple[bool, ...] = (True, False),
) -> dict[str, Any]:
    """A space of perceptrons, which take inputs of any shape and flatten them.

    Each layer chooses its width by itself. Of choices the first is that of the middle of the space.

    Args:
        layers: how many hidden layers, or the range (low, high), both included.
        width: of each hidden layer, or the range.
        width_step: widths are multiples of this.
        activation: of the whole network, to choose from: "relu", "hard_swish", "gelu", "tanh"; all but the
            first are slow in integers or stay in float.
        norm: whether each layer has batch norm, to choose from; deployed, it costs nothing.

    Returns:
        Nested Tune domains; what has one value only is a constant.

    Raises:
        ValueError: a range with low >= high, a bound that is no multiple of the step, an unknown choice.
    """
    space = {
        "family": "mlp",
        "layers": integers("layers", layers),
        "activation": one_of("activation", activation, ACTIVATIONS),
        "norm": one_of("norm", norm, (True, False)),
    }
    most = layers if isinstance(layers, int) else max(layers)
    if most > MAX_LAYERS:
        raise UserError(f"layers={layers!r}: at most {MAX_LAYERS}")
    for i in range(most):
        space[f"layer{i + 1}"] = {"width": integers("width", width, width_step)}
    return space


def decode_mlp(config: Mapping[str, Any]) -> MLPPlan:
    """The plan of an architecture config; layers beyond ``config["layers"]`` are not read.

    Raises:
        ValueError: an unknown key, a missing layer, or a value out of range.
    """
    layers = decode_numbered(MLPPlan.FORM, config, LayerPlan, ("activation", "norm"))
    norm = as_truth(config.get("norm", True), "architecture/norm")
    return MLPPlan(layers, str(config.get("activation", "relu")), norm)
