"""Writes in place become operators that give a new tensor, where nobody sees the difference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from zoo import Net

from raysearch.networks.functional import is_view, make_functional, writes


def exported(run: Callable[[nn.Module, Tensor], Tensor]) -> fx.GraphModule:
    program = torch.export.export(Net(run), (torch.randn(2, 4),))
    return program.module(check_guards=False)  # type: ignore[return-value]


def _relu_then_sum(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    F.relu_(y)
    y += x
    return y


def _seen_through_a_view(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    view = y.view(-1)
    y.relu_()
    return view


def _view_read_before(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    total = y.view(-1).sum()
    y.relu_()
    return y + total


def _a_slice(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0].zero_()
    return y


@pytest.mark.parametrize(
    ("run", "possible"),
    [(_relu_then_sum, True), (_view_read_before, True), (_seen_through_a_view, False), (_a_slice, False)],
)
def test_a_write_is_replaced_where_no_other_view_is_read_after_it(
    run: Callable[[nn.Module, Tensor], Tensor], possible: bool
) -> None:
    module = exported(run)
    assert any(writes(node) for node in module.graph.nodes)
    assert make_functional(module.graph) is possible
    if possible:
        module.recompile()
        x = torch.randn(2, 4)
        assert not any(writes(node) for node in module.graph.nodes)
        assert torch.equal(module(x), run(module, x.clone()))


def test_views_share_memory_and_copies_do_not() -> None:
    module = exported(lambda _, x: x.view(2, 2, 2).transpose(1, 2).clone().flatten(1)[:, :3] * 2)
    views = {n.name: is_view(n) for n in module.graph.nodes if n.op == "call_function"}
    copies = {name for name, view in views.items() if not view}
    assert copies == {"clone", "mul"}
    assert {"view", "transpose", "flatten"} <= views.keys() - copies
