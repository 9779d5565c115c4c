"""A captured network becomes a program again, and the program computes the same."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from zoo import NETWORKS, Net, captured

from raysearch.networks import nests
from raysearch.networks.capture import capture
from raysearch.networks.lifting import lifted
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.export.forms import float_form


@pytest.mark.parametrize(
    "name", ["resnet", "text", "two_inputs", "dict_output", "output_class", "masked_encoder"]
)
def test_a_program_computes_what_the_graph_does(name: str) -> None:
    module = float_form(captured(name))
    program = lifted(module)
    assert set(program.state_dict) == set(module.state_dict())
    for n in (1, 4):
        inputs = NETWORKS[name].inputs(n)
        given, wanted = nests.call(program.module(), inputs), outputs_of(module, inputs)
        torch.testing.assert_close(nests.tensors(given), nests.tensors(wanted))


def test_outputs_that_are_one_tensor_or_the_input_get_names_of_their_own() -> None:
    net = Net(lambda m, x: {"once": (y := m.a(x)), "again": y, "input": x}, a=nn.Linear(3, 2))
    program = lifted(capture(net, torch.randn(2, 3)))
    names = [spec.arg.name for spec in program.graph_signature.output_specs]
    assert Counter(names).most_common(1)[0][1] == 1
    x = torch.randn(4, 3)
    given = program.module()(x)
    assert torch.equal(given["once"], given["again"])
    assert torch.equal(given["input"], x)


def test_a_class_of_outputs_becomes_a_tuple() -> None:
    program = lifted(float_form(captured("output_class")))
    given = program.module()(NETWORKS["output_class"].inputs(2))
    assert isinstance(given, tuple)
    assert len(given) == 3
