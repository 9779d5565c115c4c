"""Every kind of network is captured once, and its graph computes what it computes."""

from __future__ import annotations

import pytest
import torch
from torch.utils import _pytree as pytree
from zoo import NETWORKS, captured, network

from raysearch.networks import nests
from raysearch.networks.capture import signature
from raysearch.networks.unlifting import finished
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.quantization import fold_batch_norm


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_computes_what_the_network_does(name: str) -> None:
    module, folded = captured(name), fold_batch_norm(captured(name))
    for n in (1, 5, 7):
        inputs = NETWORKS[name].inputs(n)
        wanted, given = outputs_of(network(name), inputs), outputs_of(module, inputs)
        assert pytree.tree_structure(given) == pytree.tree_structure(wanted)
        torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(outputs_of(folded, inputs), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_has_a_shape_and_every_parameter_its_name(name: str) -> None:
    module = captured(name)
    for node in module.graph.nodes:
        assert node.op == "output" or "val" in node.meta, node
    assert finished(module) is module
    named = {n for n, _ in network(name).named_parameters(remove_duplicate=False)}
    assert {n for n, _ in module.named_parameters()} <= named | {
        f"{i}.weight"
        for i in (0, 2, 4, 7)  # that are computed from others
    }
    inputs = NETWORKS[name].inputs(2)
    known = signature(module)
    assert len(known.inputs) == len(nests.tensors(inputs))
    assert len(known.outputs) == len(nests.tensors(outputs_of(module, inputs)))
    assert len({*known.inputs, *known.outputs}) == len(known.inputs) + len(known.outputs)
