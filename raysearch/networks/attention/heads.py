"""Attention heads that can be removed whole, the size of each head staying as it is.

An attention is ``nn.MultiheadAttention``, or a module that holds its number of heads as a whole number and
calls a linear layer for query, key and value, or one for each, then one on what the heads give. Whether what
looks like one is one, trial.py finds out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysearch.basics.parts import HEADS
from raysearch.networks import nests
from raysearch.networks.attention.fewer_heads import FewerHeads
from raysearch.networks.nests import Nest

_NUMBERS = ("num_heads", "num_attention_heads", "n_heads", "heads", "nhead", "n_head", "h")


@dataclass(frozen=True)
class Slice:
    """A parameter with the heads along one of its axes, which is (parts, heads, size of a head)."""

    parameter: str
    dim: int
    parts: int = 1


@dataclass(frozen=True)
class Attention:
    """What goes when heads go.

    Attributes:
        module: the name of what holds the number of heads.
        count: how many heads it has.
        slices: parameters that get smaller; the last is what reads the heads.
        numbers: attributes of the module in proportion to the number of heads, that number among them.
    """

    module: str
    count: int
    slices: tuple[Slice, ...]
    numbers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its group."""
        return f"{self.module}.{HEADS}" if self.module else HEADS

    @property
    def out(self) -> str:
        """The layer that reads the heads."""
        return self.slices[-1].parameter.rpartition(".")[0]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that make what the heads are of."""
        return tuple(dict.fromkeys(s.parameter.rpartition(".")[0] for s in self.slices[:-1]))


def attentions(model: nn.Module, example_input: Nest, exclude: Sequence[str] = ()) -> dict[str, Attention]:
    """What may be an attention of a model, by the name of its heads; its code may know better.

    Args:
        model: is run once where it has modules that may be; left as it is.
        example_input: a batch that the model takes.
        exclude: layers, or parts with all their layers, that keep their output channels.
    """
    modules = {name: m for name, m in model.named_modules() if _number_of(m)}
    if not modules:
        return {}
    calls = _calls(model, example_input, modules)
    found = [_torchs(name, m) for name, m in modules.items() if isinstance(m, nn.MultiheadAttention)]
    found += [
        _written_out(name, m, model, calls)
        for name, m in modules.items()
        if not isinstance(m, nn.MultiheadAttention)
    ]
    whole = [f"{part}." for part in exclude]
    return {
        a.name: a
        for a in found
        if a and not any(f"{layer}.".startswith(part) for layer in (a.module, *a.layers) for part in whole)
    }


def remove_heads(model: nn.Module, attention: Attention, heads: Sequence[int]) -> None:
    """Remove heads of an attention in place, in [0, count), fewer than all; what is frozen stays so."""
    kept = torch.tensor([i for i in range(attention.count) if i not in set(heads)])
    for part in attention.slices:
        owner, _, leaf = part.parameter.rpartition(".")
        layer, old = model.get_submodule(owner), model.get_parameter(part.parameter)
        heads_apart = split_heads(old.detach(), part, attention.count)
        left = heads_apart.index_select(part.dim + 1, kept.to(old.device)).flatten(part.dim, part.dim + 2)
        setattr(layer, leaf, nn.Parameter(left, requires_grad=old.requires_grad))
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
    module = model.get_submodule(attention.module)
    for number in attention.numbers:
        setattr(module, number, getattr(module, number) * len(kept) // attention.count)
    if isinstance(module, nn.MultiheadAttention):
        module.__class__ = FewerHeads
        module._qkv_same_embed_dim = False  # keeps torch's encoder layers from their fused kernel
        take_plain_tensors(model)


def take_plain_tensors(model: nn.Module) -> None:
    """Keep torch's encoders from nested tensors, which only the fused kernel of their layers takes."""
    for encoder in model.modules():
        if isinstance(encoder, nn.TransformerEncoder):
            encoder.use_nested_tensor = False


def split_heads(tensor: Tensor, part: Slice, count: int) -> Tensor:
    """A view of a parameter with the axis of its heads as three: (parts, heads, size of a head)."""
    return tensor.unflatten(part.dim, (part.parts, count, -1))  # type: ignore[no-any-return, no-untyped-call]


def _number_of(module: nn.Module) -> str | None:
    """The attribute that holds a module's number of heads."""
    numbers = (name for name in _NUMBERS if type(vars(module).get(name)) is int)
    return next((name for name in numbers if vars(module)[name] > 1), None)


def _torchs(name: str, module: nn.MultiheadAttention) -> Attention | None:
    """Torch's own attention, where query, key and value are of one width."""
    packed = module.in_proj_weight is not None and module.bias_k is None
    if type(module) not in (nn.MultiheadAttention, FewerHeads) or not packed:
        return None
    dot = f"{name}." if name else ""
    slices = [Slice(f"{dot}in_proj_weight", 0, 3)]
    slices += [Slice(f"{dot}in_proj_bias", 0, 3)] if module.in_proj_bias is not None else []
    slices += [Slice(f"{dot}out_proj.weight", 1)]
    return Attention(name, module.num_heads, tuple(slices), ("num_heads",))


def _written_out(
    name: str, module: nn.Module, model: nn.Module, calls: Sequence[tuple[str, str]]
) -> Attention | None:
    """An attention of linear layers, by the order in which they run: the first are query, key and value."""
    count = vars(module)[str(_number_of(module))]
    begins = [i for i, call in enumerate(calls) if call == ("in", name)]
    if len(begins) != 1:
        return None
    linear = [layer for kind, layer in calls[begins[0] :] if kind == "linear"]
    if len(set(linear)) < len(linear):
        return None  # a layer that is called twice
    for makers in (1, 3):
        if len(linear) <= makers:
            break
        *made, out = (model.get_submodule(layer) for layer in linear[: makers + 1])
        inner = int(out.in_features)  # type: ignore[arg-type]
        parts = 3 // makers
        if inner % count == 0 and all(m.out_features == parts * inner for m in made):
            slices = [s for layer in linear[:makers] for s in _rows(layer, model, parts)]
            numbers = [key for key, value in vars(module).items() if type(value) is int and value == inner]
            numbers = list(dict.fromkeys([str(_number_of(module)), *numbers]))
            slices.append(Slice(f"{linear[makers]}.weight", 1))
            return Attention(name, count, tuple(slices), tuple(numbers))
    return None


def _rows(layer: str, model: nn.Module, parts: int) -> Iterator[Slice]:
    yield Slice(f"{layer}.weight", 0, parts)
    if model.get_submodule(layer).bias is not None:
        yield Slice(f"{layer}.bias", 0, parts)


def _calls(model: nn.Module, example_input: Nest, modules: Mapping[str, nn.Module]) -> list[tuple[str, str]]:
    """In the order of one run: ("in", module) as one of the modules begins, ("linear", layer)."""
    calls: list[tuple[str, str]] = []
    linear = {n: m for n, m in model.named_modules() if type(m) is nn.Linear and "weight" in m._parameters}
    watched = [("in", n, m) for n, m in modules.items()] + [("linear", n, m) for n, m in linear.items()]
    hooks = [
        m.register_forward_pre_hook(lambda *_, call=(kind, name): calls.append(call))
        for kind, name, m in watched
    ]
    try:
        run(model, example_input)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def run(model: nn.Module, example_input: Nest) -> list[Tensor]:
    """The tensors that a model gives in evaluation mode, its modes left as they are."""
    modes = {m: m.training for m in model.modules()}
    try:
        with torch.no_grad():
            inputs = nests.to_device(example_input, nests.device_of(model))
            return nests.tensors(nests.call(model.eval(), inputs))
    finally:
        for m, mode in modes.items():
            m.training = mode
