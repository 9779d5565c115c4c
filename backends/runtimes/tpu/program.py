"""An exported torch program as a function of JAX, by torchax, operator by operator."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import fx
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket, _OpNamespace
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from raysearch.backends.base import Array, Feed, MeasurementError
from raysearch.backends.exported import load_program
from raysearch.basics.failures import first_line

_aten = torch.ops.aten
# What is computed by the matrix unit: its operands are of the target's type, whatever lies between.
_PRODUCTS = {
    *(_aten.convolution, _aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm, _aten.mv, _aten.dot),
    *(_aten.linear, _aten.matmul, _aten.einsum, _aten._trilinear, _aten.scaled_dot_product_attention),
}
_NEAR = 1e-3  # of the largest value of an output, in float32


@dataclass(frozen=True)
class Program:
    """A network as JAX has it, in one type.

    Attributes:
        function: of its weights and buffers and of its inputs, both flat; gives its outputs, flat.
        states: weights and buffers.
        inputs: the types in which it takes its inputs.
        outputs: the types of its outputs in torch.
    """

    function: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
    states: list[Array]
    inputs: list[Any]
    outputs: list[Any]

    def arguments(self, feed: Feed) -> list[Array]:
        """A batch of inputs, in the types that it takes."""
        return [array.astype(kind) for array, kind in zip(feed.values(), self.inputs, strict=True)]


@dataclass(frozen=True)
class Network:
    """A network as it was read.

    Attributes:
        name: its file's.
        exported: as it was written.
        plain: of fewer kinds of operators, all of which have a translation.
    """

    name: str
    exported: ExportedProgram
    plain: ExportedProgram

    def program(self, dtype: str) -> Program:
        """The network in JAX.

        Args:
            dtype: "bf16" or "f32", of weights and inputs. What the network itself turns into float32 stays
                so up to the next convolution or matrix product.
        """
        kind = {"bf16": jnp.bfloat16, "f32": jnp.float32}[dtype]
        plain, translations = self.plain, _translations()

        def function(states: Sequence[Any], inputs: Sequence[Any]) -> Sequence[Any]:
            translator = _Translator(plain.graph_module, translations, kind)
            found: Sequence[Any] = translator.run(*states, *inputs, enable_io_processing=False)
            return found[len(plain.graph_signature.buffers_to_mutate) :]

        given, results = _ends(plain)
        return Program(
            function,
            [_in(kind, state.detach().numpy()) for state in _states(plain)],
            [kind if value.is_floating_point() else _numpy_type(value) for value in given],
            [_numpy_type(value) for value in results],
        )

    def check(self, feed: Feed) -> None:
        """Make sure that JAX computes in float32 what torch does.

        Raises:
            MeasurementError: an output differs by more than a thousandth of its largest value.
        """
        program = self.program("f32")
        found = [
            a for a in jax.jit(program.function)(program.states, program.arguments(feed)) if a is not None
        ]
        for one, other in zip(found, self._by_torch(feed), strict=True):
            span = np.abs(other[np.isfinite(other)]).max(initial=0.0) or 1.0
            if not np.allclose(np.asarray(one, np.float64), other, 0, _NEAR * span, equal_nan=True):
                raise MeasurementError(f"cannot run {self.name}: JAX does not compute for it what torch does")

    def _by_torch(self, feed: Feed) -> list[Array]:
        tensors = [torch.as_tensor(array) for array in feed.values()]
        args, kwargs = pytree.tree_unflatten(tensors, self.exported.call_spec.in_spec)
        with torch.inference_mode():
            outputs = pytree.tree_leaves(self.exported.module(check_guards=False)(*args, **kwargs))
        return [output.double().numpy() for output in outputs if isinstance(output, torch.Tensor)]


def read(path: Path) -> Network:
    """The network of a ``.pt2`` file.

    Raises:
        MeasurementError: it is no such file, or has operators without a translation; they are named.
    """
    try:
        exported = load_program(path)
    except Exception as error:  # zip, pickle and schema errors, each of another class
        raise MeasurementError(f"cannot load {path.name}: {first_line(error)}") from error
    plain = exported.run_decompositions().run_decompositions(_decompositions())
    if missing := _missing(plain, _translations()):
        raise MeasurementError(f"cannot run {path.name}: JAX has no {', '.join(missing)}")
    return Network(path.name, exported, plain)


class _Translator(fx.Interpreter):
    """Runs a graph of torch's operators on arrays of JAX."""

    def __init__(self, module: fx.GraphModule, translations: dict[Any, Any], kind: Any) -> None:
        super().__init__(module)
        self._translations, self._kind = translations, kind
        self.extra_traceback = False  # the message is for users

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not isinstance(target, OpOverload):
            return super().call_function(target, args, kwargs)
        if target.overloadpacket in _PRODUCTS:
            args = pytree.tree_map_only(jax.Array, lambda array: _in(self._kind, array), args)
        translation = _of(target, self._translations)
        assert translation is not None, target  # what lacks one was refused
        return translation(*args, **kwargs)


def _in(kind: Any, array: Any) -> Any:
    return array.astype(kind) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _of(target: OpOverload, translations: dict[Any, Any]) -> Callable[..., Any] | None:
    return translations.get(target) or translations.get(target.overloadpacket)


def _missing(program: ExportedProgram, translations: dict[Any, Any]) -> list[str]:
    """The operators that have no translation, with their layers."""
    found = []
    for node in program.graph.nodes:
        known = isinstance(node.target, OpOverload) and _of(node.target, translations) is not None
        if isinstance(node.target, (OpOverload, HigherOrderOperator)) and not known:
            stack = list(node.meta.get("nn_module_stack", {}).values())
            found.append(str(node.target) + (f" (layer {stack[-1][0]!r})" if stack and stack[-1][0] else ""))
    return list(dict.fromkeys(found))


def _states(program: ExportedProgram) -> Iterator[torch.Tensor]:
    """Parameters, buffers and constants in the order of the graph's arguments."""
    held = {**program.constants, **program.state_dict}
    kinds = torch.export.graph_signature.InputKind
    for spec in program.graph_signature.input_specs:
        if spec.kind in (kinds.PARAMETER, kinds.BUFFER, kinds.CONSTANT_TENSOR):
            yield held[str(spec.target)]


def _ends(program: ExportedProgram) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """What stands for the inputs and for the outputs, with their types."""
    signature, values = program.graph_signature, {n.name: n.meta.get("val") for n in program.graph.nodes}
    given = [values[name] for name in signature.user_inputs if isinstance(name, str) and name in values]
    results = [values[name] for name in signature.user_outputs if isinstance(name, str) and name in values]
    return given, results


def _numpy_type(value: torch.Tensor) -> Any:
    return torch.empty(0, dtype=value.dtype).numpy().dtype


@cache
def _translations() -> dict[Any, Any]:
    """What computes each operator in JAX: torchax's, but for what it gets wrong."""
    logging.getLogger().addFilter(_is_no_duplicate)
    with _dropped_names():
        import torchax.ops.jaten  # noqa: F401  registers all
        from torchax.ops.ops_registry import all_aten_ops
    found = {target: operator.func for target, operator in all_aten_ops.items() if operator.is_jax_function}
    library = found[_aten.convolution]

    def convolution(x: Any, weight: Any, bias: Any, *how: Any) -> Any:
        if how[3] and how[5] > 1:
            return _transposed(x, weight, bias, *how)
        return library(x, weight, bias, *how)

    found[_aten.convolution.default] = convolution
    return found


def _decompositions() -> Any:
    with _dropped_names():
        from torchax.decompositions import DECOMPOSITIONS
    return DECOMPOSITIONS


def _transposed(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """A transposed convolution in groups, of which torchax 0.0.13 mixes up the channels."""
    inputs, per_group, *window = weight.shape
    parts = weight.reshape(groups, inputs // groups, per_group, *window)
    kernel = jnp.moveaxis(parts, 0, 1).reshape(inputs // groups, groups * per_group, *window)
    before = [d * (k - 1) - p for d, k, p in zip(dilation, window, padding, strict=True)]
    places = tuple(range(2, x.ndim))
    y = jax.lax.conv_general_dilated(
        x,
        jnp.flip(kernel, places),
        window_strides=[1] * len(window),
        padding=[(b, b + more) for b, more in zip(before, output_padding, strict=True)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=jax.lax.ConvDimensionNumbers((0, 1, *places), (1, 0, *places), (0, 1, *places)),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias.reshape(1, -1, *[1] * len(window))


def _is_no_duplicate(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Duplicate op registration")


class _Dropped:
    """What torchax still names and torch no longer has; nothing ever asks for it."""

    def __getattr__(self, name: str) -> _Dropped:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


@contextmanager
def _dropped_names() -> Iterator[None]:
    """Let torchax name operators that torch has dropped (those of named tensors, in 2.13) while it loads."""
    homes: tuple[Any, ...] = (OpOverloadPacket, _OpNamespace)
    own = [home.__getattr__ for home in homes]

    def lenient(found: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        def get(self: Any, name: str) -> Any:
            try:
                return found(self, name)
            except AttributeError:
                asks = sys._getframe(1).f_globals.get("__name__", "")
                if name.startswith("_") or not asks.startswith("torchax"):
                    raise
                return _Dropped()

        return get

    for home, found in zip(homes, own, strict=True):
        home.__getattr__ = lenient(found)
    try:
        yield
    finally:
        for home, found in zip(homes, own, strict=True):
            home.__getattr__ = found
