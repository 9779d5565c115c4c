"""Tracing a model, and folding batch normalisation into the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from raysearch.basics.failures import UserError


def fold_batch_norm(model: nn.Module) -> fx.GraphModule:
    """A copy of the model in evaluation mode, with each batch norm folded into the layer that it follows.

    Fold only trained networks: one folded at initialisation trains without batch norm, and badly.

    Args:
        model: any module that torch.fx can trace; it is left as it is.

    Returns:
        A graph module whose submodules keep their names, without those that do nothing. A batch norm that
        follows no layer, or one that others read too, stays.

    Raises:
        ValueError: the model cannot be traced; the layer and the reason are named.
    """
    graph_module = trace(copy.deepcopy(model).eval())
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and type(modules[node.target]) is nn.Identity:
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
    for node in list(graph_module.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        before = node.args[0]
        if before.op != "call_module" or len(before.users) > 1:
            continue
        folded = _fused(modules[before.target], modules[node.target])
        if folded is None or _calls(graph_module, before.target) > 1:
            continue
        modules[before.target] = folded
        graph_module.set_submodule(before.target, folded)
        node.replace_all_uses_with(before)
        graph_module.graph.erase_node(node)
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def trace(model: nn.Module) -> fx.GraphModule:
    """The model as a graph.

    Raises:
        ValueError: its forward depends on the values of its input, or does what torch.fx cannot follow.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # the model's own code runs here: anything may come
        where = (
            f"layer {tracer.path!r} ({tracer.kind})" if tracer.path else f"the model ({type(model).__name__})"
        )
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{where} cannot be traced by torch.fx: {reason}") from error
    return fx.GraphModule(tracer.root, graph, type(model).__name__)


class _Tracer(fx.Tracer):
    """Remembers which layer it was in, for the message when tracing fails."""

    def __init__(self) -> None:
        super().__init__()
        self.path, self.kind = "", ""

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outer = self.path, self.kind
        self.path, self.kind = self.path_of_module(m), type(m).__name__
        result = super().call_module(m, forward, args, kwargs)
        self.path, self.kind = outer  # not restored when it fails: that is what the message names
        return result


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """The layer with the batch norm inside it, or None where this pair does not fold."""
    if norm.running_mean is None:
        return None
    if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        return _trainable(fuse_conv_bn_eval(layer, norm))
    if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        return _trainable(fuse_linear_bn_eval(layer, norm))
    return None


def _trainable(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """With a bias that is trained where the weights are: torch leaves a bias that is new as a constant."""
    if layer.bias is not None:
        layer.bias.requires_grad_(layer.weight.requires_grad)
    return layer


def _calls(graph_module: fx.GraphModule, target: str) -> int:
    return sum(node.op == "call_module" and node.target == target for node in graph_module.graph.nodes)
