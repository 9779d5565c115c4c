from __future__ import annotations

import torch
from torch import Tensor, nn

from raysearch.networks.capture import capture
from raysearch.networks.lifting import lifted


class _Named(nn.Module):
    """Names that are no Python ones, or the same but for a dot."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("block1-0", nn.Linear(3, 3))
        self.inner = nn.ModuleDict({"0": nn.Linear(3, 3)})
        self.add_module("inner_0", nn.Linear(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.get_submodule("block1-0"), self.inner["0"], self.get_submodule("inner_0")):
            x = layer(x)
        return x


def test_a_program_of_any_names_is_python_and_computes_the_same() -> None:
    x = torch.randn(4, 3)
    captured = capture(_Named(), x)
    program = lifted(captured).run_decompositions({})  # which runs the graph's code
    torch.testing.assert_close(program.module()(x), captured(x))
    assert set(program.state_dict) == {
        f"{layer}.{tensor}" for layer in ("block1-0", "inner.0", "inner_0") for tensor in ("weight", "bias")
    }
