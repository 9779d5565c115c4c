"""What a mask keeps or drops, and the network that it leaves.

A *unit* is what goes as one: a weight, or a channel with everything that depends on it. The masks of all
layers lie one after another in a flat vector of booleans, True where the unit stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysearch.basics.failures import UserError
from raysearch.basics.parts import is_heads
from raysearch.basics.spelling import did_you_mean
from raysearch.networks.groups import channel_blocks, channel_group, prunable_groups, take_apart

Mask = NDArray[np.bool_]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Factor:
    """How a layer's mask multiplies a parameter.

    Args:
        parameter: its name in the model.
        layer: whose mask it is.
        dim: along which the units lie; None where each entry is a unit.
        units: of each index along ``dim`` the unit, (length,).
    """

    parameter: str
    layer: str
    dim: int | None = None
    units: Tensor | None = None


@dataclass(frozen=True)
class Units:
    """The units of some layers of a model.

    Args:
        sizes: how many units each layer has, in the order in which they are searched.
        shapes: of each layer's mask as a tensor.
        factors: what the masks multiply.
    """

    sizes: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    factors: tuple[Factor, ...]

    @property
    def total(self) -> int:
        """The length of the flat vector."""
        return sum(self.sizes.values())

    @property
    def slices(self) -> dict[str, slice]:
        """Where each layer's units lie in the flat vector."""
        ends = np.cumsum(list(self.sizes.values())).tolist()
        return {n: slice(end - self.sizes[n], end) for n, end in zip(self.sizes, ends, strict=True)}

    def parameters(self, layers: Iterable[str]) -> set[str]:
        """The names of the parameters that these layers' masks change."""
        wanted = set(layers)
        return {f.parameter for f in self.factors if f.layer in wanted}

    def masked(self, parameters: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters that masks change, multiplied by them.

        Args:
            parameters: the model's, by name.
            masks: of every layer, (units,), of the parameters' type: 1 keeps, 0 drops.
        """
        changed: dict[str, Tensor] = {}
        for factor in self.factors:
            value = changed.get(factor.parameter, parameters[factor.parameter])
            mask = masks[factor.layer]
            if factor.dim is None or factor.units is None:
                changed[factor.parameter] = value * mask.view(value.shape)
            else:
                shape = [-1 if d == factor.dim else 1 for d in range(value.dim())]
                changed[factor.parameter] = value * mask[factor.units].view(shape)
        return changed

    def magnitudes(self, parameters: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """The sum of squares of the weights that each unit multiplies, (total,)."""
        sums = {n: torch.zeros(size, dtype=torch.float64) for n, size in self.sizes.items()}
        for factor in self.factors:
            squares = parameters[factor.parameter].double().square().cpu()
            if factor.dim is None or factor.units is None:
                sums[factor.layer] += squares.flatten()
            elif factor.parameter.endswith("weight") and squares.dim() > 1:
                along = squares.transpose(0, factor.dim).flatten(1).sum(1)
                sums[factor.layer].index_add_(0, factor.units, along)
        return torch.cat(list(sums.values())).numpy()

    def split(self, mask: Mask) -> dict[str, Tensor]:
        """The flat vector as one boolean tensor a layer, of the layer's shape."""
        return {n: torch.from_numpy(mask[s].copy()).view(self.shapes[n]) for n, s in self.slices.items()}


def weight_units(model: nn.Module, layers: Sequence[str] | None = None) -> Units:
    """Each weight a unit (biases stay); masks have the weights' shapes.

    Args:
        model: any module.
        layers: names of layers with a weight, in the order in which they are searched; left out, all linear
            layers and convolutions, of those that share a weight the first.

    Raises:
        ValueError: an unknown layer, one that is named twice or has no weight, two that share a weight, or
            no layer at all.
    """
    modules = dict(model.named_modules())
    named = layers is not None
    if layers is None:
        layers = [name for name, module in modules.items() if isinstance(module, _LAYERS)]
    _check(layers, list(modules))
    parameters = {parameter: name for name, parameter in model.named_parameters()}
    owners: dict[str, str] = {}
    sizes, shapes = {}, {}
    for name in layers:
        weight = getattr(modules[name], "weight", None)
        if not isinstance(weight, nn.Parameter):
            kind = type(modules[name]).__name__
            raise UserError(
                f"layers names {name!r}, a {kind} without a weight: name layers such as Linear or Conv2d"
            )
        owner = owners.setdefault(parameters[weight], name)
        if owner == name:
            sizes[name], shapes[name] = weight.numel(), tuple(weight.shape)
        elif named:
            raise UserError(f"layers names {owner!r} and {name!r}, which share a weight: name one of them")
    return Units(sizes, shapes, tuple(Factor(parameter, name) for parameter, name in owners.items()))


def channel_units(model: nn.Module, example_input: Tensor, layers: Sequence[str] | None = None) -> Units:
    """Each output channel of a dependency group a unit, so that dropping it computes what removing it would.

    Where a group has grouped convolutions, channels at the same place of all their blocks are one unit.

    Args:
        model: any module that torch-pruning can take apart.
        example_input: a batch for the model.
        layers: root layers of dependency groups (see ``prunable_groups``); left out, all.

    Raises:
        ValueError: a layer that is no root or named twice, or torch-pruning cannot handle the model.
    """
    if layers is None:
        layers = [name for name in prunable_groups(model, example_input) if not is_heads(name)]
    graph, roots = take_apart(model, example_input)
    _check(layers, list(roots))
    names = {module: name for name, module in model.named_modules()}
    sizes, factors = {}, []
    for root in layers:
        sizes[root] = roots[root] // channel_blocks(graph, root)
        for member in channel_group(graph, root, list(range(roots[root]))):
            layer = names.get(member.dep.target.module)
            if layer is not None:
                factors += _factors(graph, member, layer, root, sizes[root])
    shapes = {root: (size,) for root, size in sizes.items()}
    return Units(sizes, shapes, tuple(factors))


def _factors(graph: Any, member: Any, layer: str, root: str, size: int) -> list[Factor]:
    """What a group's channels multiply in one of its layers: what makes them, or what reads them."""
    module, along = member.dep.target.module, torch.tensor(member.idxs)
    units = torch.tensor(member.root_idxs) % size
    produced = graph.is_out_channel_pruning_fn(member.dep.handler)
    found = []
    for kind in ("weight", "bias"):
        parameter, dim = getattr(module, kind, None), 0 if produced else 1
        if not isinstance(parameter, nn.Parameter) or parameter.dim() <= dim:
            continue
        if parameter.shape[dim] == len(along):  # not so where a grouped convolution reads the channels
            found.append(Factor(f"{layer}.{kind}", root, dim, units[along.argsort()]))
    return found


def _check(layers: Sequence[str], known: list[str]) -> None:
    if isinstance(layers, str) or not layers:
        raise UserError(f"layers is {layers!r}: give a list with at least one layer's name")
    unknown = next((name for name in layers if name not in known), None)
    if unknown is not None:
        near = did_you_mean(unknown, filter(None, known))
        raise UserError(f"layers names {unknown!r}, which is none of the model's that can be pruned; {near}")
    if len(set(layers)) < len(layers):
        twice = next(name for name in layers if list(layers).count(name) > 1)
        raise UserError(f"layers names {twice!r} twice: name each layer once")
