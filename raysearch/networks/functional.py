"""Statements that write into a tensor (``x.relu_()``), made operators that give a new one.

A graph with such statements cannot be changed or exported node by node: what a node gives would not be what
its readers see.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


def writes(node: fx.Node) -> bool:
    """Whether an operator writes into its first argument."""
    return _is_operator(node) and bool(node.target._schema.is_mutable)  # type: ignore[union-attr]


def is_view(node: fx.Node) -> bool:
    """Whether an operator gives another view of its first argument's memory."""
    if not _is_operator(node) or writes(node):
        return False
    return any(r.alias_info is not None for r in node.target._schema.returns)  # type: ignore[union-attr]


def make_functional(graph: fx.Graph) -> bool:
    """Replace each write in place, where no other view of the memory is read after it.

    Args:
        graph: of aten operators; changed in place.

    Returns:
        Whether all were replaced; else the graph is left with some, and needs torch's own functionalisation.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    for node in [n for n in graph.nodes if writes(n)]:
        written = node.args[0]
        functional = _functional(node.target)
        if functional is None or not isinstance(written, fx.Node) or _seen_elsewhere(written, node, place):
            return False
        node.target = functional
        for user in list(written.users):
            if place[user] > place[node]:
                user.replace_input_with(written, node)
    return True


def _functional(target: Any) -> Any:
    """The overload that gives a new tensor: aten.relu for aten.relu_; None where there is none."""
    name, _, overload = target._schema.name.partition("::")[2], "", target._overloadname
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    if packet is None or not name.endswith("_") or overload not in packet.overloads():
        return None
    found = getattr(packet, overload)
    ours, theirs = found._schema.arguments, target._schema.arguments
    return found if [str(a.type) for a in ours] == [str(a.type) for a in theirs] else None


def _seen_elsewhere(written: fx.Node, write: fx.Node, place: dict[fx.Node, int]) -> bool:
    """Whether another node that shares the written memory is read after the write."""
    root = written
    while is_view(root):
        root = root.all_input_nodes[0]
    shared, queue = set(), [root]
    while queue:
        node = queue.pop()
        shared.add(node)
        queue += [u for u in node.users if is_view(u) and u not in shared]
    readers = [user for node in shared - {written} for user in node.users]
    return any(place[user] > place[write] for user in readers)


def _is_operator(node: fx.Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)
