"""Run a model from where some of its parameters begin to matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, fx, nn
from torch.func import functional_call

from raysearch.basics.failures import UserError
from raysearch.networks.capture import capture
from raysearch.networks.copying import copy_of

Start = dict[fx.Node, Any] | Tensor
"""What is known before the first changed layer; for a model that cannot be captured, its input."""


class Resumable:
    """A copy of a model, in evaluation mode and on the CPU, captured so that it can be run in part.

    A model that cannot be captured, or that computes weights from its parameters, is run whole.

    Args:
        model: of one input, giving one tensor.
        x: some inputs, (n, ...).
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        model = copy_of(model).cpu().eval()
        self.parameters = {name: p.detach() for name, p in model.named_parameters()}
        self._model = _captured(model, x) or model
        self._runner = _Runner(self._model)
        self._held = {name for name, _ in self._model.named_parameters(remove_duplicate=False)}
        self._names = _names(model, self._held)

    def run(self, parameters: Mapping[str, Tensor], start: Start) -> Tensor:
        """The output with some parameters replaced, from an input (n, ...) or a start."""
        output: Tensor = functional_call(self._runner, self._replaced(parameters), (start,))
        return output

    def start(self, parameters: Mapping[str, Tensor], x: Tensor, changing: set[str]) -> Start:
        """What an input (n, ...) leads to and the changing parameters do not touch.

        Args:
            parameters: that replace the model's.
            x: the input.
            changing: names of the parameters that ``run`` will be given anew.
        """
        if not isinstance(self._model, fx.GraphModule):
            return x
        later = _dependent(self._model, {self._names.get(name, name) for name in changing})
        known: dict[fx.Node, Any] = functional_call(self._runner, self._replaced(parameters), (x, later))
        return {
            node: value if any(user in later for user in node.users) else None
            for node, value in known.items()
        }

    def _replaced(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By the runner's names, without those of layers that the model never calls."""
        named = {self._names.get(name, name): value for name, value in parameters.items()}
        return {f"model.{name}": value for name, value in named.items() if name in self._held}


def _captured(model: nn.Module, x: Tensor) -> fx.GraphModule | None:
    try:
        captured = capture(model, x[:2])
    except UserError:
        return None
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return captured if all(name in known for name, _ in captured.named_parameters()) else None


def _names(model: nn.Module, held: set[str]) -> dict[str, str]:
    """The name that a capture holds each parameter under, by all names that the model has for it."""
    known = dict(model.named_parameters(remove_duplicate=False))
    first = {id(known[name]): name for name in known if name in held}
    return {name: first[id(p)] for name, p in known.items() if id(p) in first}


class _Runner(nn.Module):
    """What ``functional_call`` swaps the parameters of while an interpreter reads them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, start: Start, later: set[fx.Node] | None = None) -> Tensor | dict[fx.Node, Any]:
        if later is not None and isinstance(self.model, fx.GraphModule):
            return _Before(self.model, later).known(start)
        if isinstance(start, dict) and isinstance(self.model, fx.GraphModule):
            outputs = fx.Interpreter(self.model).run(initial_env=dict(start), enable_io_processing=False)
            return cast(Tensor, outputs[0])
        return cast(Tensor, self.model(start))


class _Before(fx.Interpreter):
    """Computes all nodes but the later ones."""

    def __init__(self, model: fx.GraphModule, later: set[fx.Node]) -> None:
        super().__init__(model, garbage_collect_values=False)
        self._later = later

    def known(self, x: Start) -> dict[fx.Node, Any]:
        self.args_iter = iter([x])
        self.env = {}
        for node in self.graph.nodes:
            if node not in self._later:
                self.env[node] = self.run_node(node)
        return self.env


def _dependent(model: fx.GraphModule, changing: set[str]) -> set[fx.Node]:
    """The nodes of a graph that changing parameters reach, and its output."""
    found: set[fx.Node] = set()
    for node in model.graph.nodes:
        own = node.op in ("call_module", "get_attr") and any(
            name == node.target or name.startswith(f"{node.target}.") for name in changing
        )
        if own or node.op == "output" or any(i in found for i in node.all_input_nodes):
            found.add(node)
    return found
