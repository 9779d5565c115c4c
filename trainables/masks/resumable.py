"""Run a model from where some of its parameters begin to matter."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, fx, nn
from torch.func import functional_call

from raysearch.networks.copying import copy_of

Start = dict[fx.Node, Tensor | None] | Tensor
"""What is known before the first changed layer; for a model that cannot be traced, its input."""


class Resumable:
    """A copy of a model, in evaluation mode and on the CPU, traced by torch.fx so that it can be run in part.

    A model that torch.fx cannot trace is run whole.
    """

    def __init__(self, model: nn.Module) -> None:
        model = copy_of(model).cpu().eval()
        try:
            self._model: nn.Module = fx.symbolic_trace(model)
        except Exception:  # whatever the model's own code raises when it is given proxies
            self._model = model
        self._runner = _Runner(self._model)
        self._used = {name for name, _ in self._model.named_parameters(remove_duplicate=False)}
        self._shared = _shared(self._model)
        self.parameters = {name: p.detach() for name, p in model.named_parameters()}

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
        later = _dependent(self._model, changing.union(*(self._shared.get(name, ()) for name in changing)))
        known: dict[fx.Node, Tensor | None] = functional_call(
            self._runner, self._replaced(parameters), (x, later)
        )
        return {
            node: value if any(user in later for user in node.users) else None
            for node, value in known.items()
        }

    def _replaced(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By the runner's names, without layers that the model never calls: a trace leaves them out."""
        return {f"model.{name}": value for name, value in parameters.items() if name in self._used}


def _shared(model: nn.Module) -> dict[str, set[str]]:
    """All names of each parameter, by each of them."""
    names: dict[nn.Parameter, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, set()).add(name)
    return {name: together for together in names.values() for name in together}


class _Runner(nn.Module):
    """What ``functional_call`` swaps the parameters of while an interpreter reads them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, start: Start, later: set[fx.Node] | None = None
    ) -> Tensor | dict[fx.Node, Tensor | None]:
        if later is not None and isinstance(self.model, fx.GraphModule):
            return _Before(self.model, later).known(start)
        if isinstance(start, dict) and isinstance(self.model, fx.GraphModule):
            output: Tensor = fx.Interpreter(self.model).run(initial_env=dict(start))
            return output
        whole: Tensor = self.model(start)
        return whole


class _Before(fx.Interpreter):
    """Computes all nodes but the later ones."""

    def __init__(self, model: fx.GraphModule, later: set[fx.Node]) -> None:
        super().__init__(model, garbage_collect_values=False)
        self._later = later

    def known(self, x: Start) -> dict[fx.Node, Tensor | None]:
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
