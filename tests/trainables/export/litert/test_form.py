"""The form alone: torch runs it, so that neither LiteRT nor its converter is needed."""

from __future__ import annotations

import pytest
import torch
from litert_files import deployed, mixed
from torch import fx
from zoo import NETWORKS

from raysearch.networks import nests
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.export.litert.form import layer_of_label, litert_form

ON_THE_EDGE = 0.002  # share of outputs
quantized = torch.ops.quantized_decomposed


def same(module: fx.GraphModule, name: str, tolerance: float) -> bool:
    inputs = NETWORKS[name].inputs(5)
    pairs = zip(
        nests.tensors(outputs_of(module, inputs)),
        nests.tensors(outputs_of(litert_form(module), inputs)),
        strict=True,
    )
    # What lies on the edge between two codes is rounded by the last bit of a sum, which processors differ in.
    return all(
        float(((a - b).abs() > tolerance * a.abs().max()).float().mean()) <= ON_THE_EDGE for a, b in pairs
    )


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "gated"])
def test_it_computes_what_the_module_does(name: str) -> None:
    assert same(deployed(name, (8, 8)), name, 1e-6)


@pytest.mark.parametrize("name", ["resnet", "inverted_residuals", "attention", "text"])
def test_so_it_does_with_other_bits(name: str) -> None:
    for plan in ((4, 4), (16, 16), mixed(name)):
        assert same(deployed(name, plan), name, 1e-6)


def test_a_sigmoid_is_rounded_to_its_kernels_steps_first() -> None:
    module = deployed("gated", (8, 8))
    pairs = [
        node.args[1:3]
        for node in litert_form(module).graph.nodes
        if node.target is quantized.quantize_per_tensor.default and "sigmoid" in str(node.args[0])
    ]
    assert pairs == [(1 / 256, -128)]
    assert same(module, "gated", 0.02)


def test_fewer_than_eight_bits_have_a_limit_that_int8_has_not() -> None:
    nodes = litert_form(deployed("resnet", (8, 4))).graph.nodes
    limits = {node.args[1:] for node in nodes if node.target is torch.ops.aten.clamp.default}
    assert any(low is None for low, _ in limits)  # behind a ReLU the lowest code is the limit
    for low, high in limits:
        assert low is None or abs(low / high + 8 / 7) < 1e-6
    weights = [n for n in nodes if n.target is quantized.quantize_per_channel.default]
    assert weights
    assert all(n.args[4:6] == (-127, 127) for n in weights)


def test_each_operator_is_labelled_with_its_layer_and_its_quantiser() -> None:
    form = litert_form(deployed("resnet", (8, 8)))
    convolutions = [n for n in form.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    assert [layer_of_label(n) for n in convolutions][:3] == ["0.0", "2.body.0.0", "2.body.1.0"]
    labels = [next(iter(n.meta["nn_module_stack"].values()))[1] for n in convolutions]
    assert labels[0] == "0.0:quantize_relu_8"


def test_the_given_module_stays_as_it_is() -> None:
    module = deployed("resnet", (8, 8))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    text = str(module.graph)
    litert_form(module)
    assert str(module.graph) == text
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
