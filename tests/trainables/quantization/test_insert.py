from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from raysearch.networks.capture import capture
from raysearch.networks.operators import computes_in_integers, layer_name, layer_of
from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization import BiasQuantizer, Quantizer, calibrate, insert_quantizers
from raysearch.trainables.quantization.insert import quantizer_of

Uniform = Callable[[int, int], BitWidthPlan]


def _bits(module: fx.GraphModule) -> dict[str, tuple[int, int]]:
    """For each layer, the bits of the quantisers that its weights and its input come from; 32 for floats."""
    found = {}
    for node in module.graph.nodes:
        if layer := layer_of(node):
            sources = [quantizer_of(module, node.args[place]) for place in (layer.weight, layer.input)]
            name = layer_name(node, layer)
            weight, given = (source.bits if source else 32 for source in sources)
            found[name] = weight, given
    return found


@pytest.mark.parametrize("seed", range(10))
def test_every_layer_has_exactly_the_bits_of_its_plan(
    folded: fx.GraphModule, resnet_plan: ResNetPlan, seed: int
) -> None:
    draw = random.Random(seed)
    parts = resnet_plan.parts()
    plan = BitWidthPlan(
        {p: draw.choice([2, 4, 8, 16, 32]) for p in parts}, {p: draw.choice([2, 4, 8, 16, 32]) for p in parts}
    )
    found = _bits(insert_quantizers(folded, plan))
    assert len(found) == 12
    for name, (weights, inputs) in found.items():
        assert weights == plan.layer(name)[0]
        # What an operator in integers gives is rounded for all that read it, also for who could take floats.
        assert inputs == plan.layer(name)[1] or inputs <= 8 < plan.layer(name)[1]


def test_a_layer_reads_what_an_integer_operator_gives_as_it_was_rounded(folded: fx.GraphModule) -> None:
    parts = {"stem": 8, "stage1": 8, "stage2": 32, "stage3": 32, "head": 32}
    found = _bits(insert_quantizers(folded, BitWidthPlan(parts, parts)))
    assert found["stage2.0.conv1"] == (32, 8)  # the sum at the end of stage1 is an integer operator
    assert found["stage2.0.conv2"] == (32, 32)


def test_a_uniform_plan_quantises_every_tensor_between_operators(
    folded: fx.GraphModule, uniform: Uniform
) -> None:
    module = insert_quantizers(folded, uniform(8, 8))
    merges = [
        node for node in module.graph.nodes if node.op == "call_function" and computes_in_integers(node)
    ]
    assert len(merges) == 4  # three sums and the pooling
    for node in merges:
        assert all(quantizer_of(module, source) for source in node.all_input_nodes)
    for node in module.graph.nodes:
        quantizers = [u for u in node.users if quantizer_of(module, u)]
        assert len(quantizers) <= 1  # and nothing else reads a tensor that has one, so that operators fuse
        assert not quantizers or len(node.users) == 1


def test_biases_are_rounded_where_input_and_weights_are_integers(
    folded: fx.GraphModule, uniform: Uniform
) -> None:
    count = {
        bits: sum(isinstance(m, BiasQuantizer) for m in insert_quantizers(folded, uniform(*bits)).modules())
        for bits in ((8, 8), (2, 4), (8, 16), (8, 32), (16, 8), (32, 8))
    }
    assert count == {(8, 8): 12, (2, 4): 12, (8, 16): 0, (8, 32): 0, (16, 8): 0, (32, 8): 0}


def test_values_that_cannot_be_negative_are_unsigned(folded: fx.GraphModule, uniform: Uniform) -> None:
    module = insert_quantizers(folded, uniform(8, 8))
    signed = {n: m.signed for n, m in module.named_children() if isinstance(m, Quantizer)}
    assert signed["quantize_relu_8"] is False
    assert signed["quantize_x_8"] is True
    assert {s for n, s in signed.items() if "conv2d" in n} == {True}
    assert {s for n, s in signed.items() if "pool" in n} == {False}


def test_float_parts_have_no_quantiser(
    folded: fx.GraphModule, resnet_plan: ResNetPlan, uniform: Uniform
) -> None:
    assert not _quantizers(insert_quantizers(folded, uniform(32, 32)))
    bits = {p: 8 if p in ("stem", "stage1") else 32 for p in resnet_plan.parts()}
    module = insert_quantizers(folded, BitWidthPlan(bits, bits))
    assert _quantizers(module)
    last = max(i for i, n in enumerate(module.graph.nodes) if quantizer_of(module, n))
    first = min(i for i, n in enumerate(module.graph.nodes) if _layer_of_part(n, "stage2"))
    assert last < first


def _quantizers(module: nn.Module) -> list[Quantizer]:
    return [m for m in module.modules() if isinstance(m, Quantizer)]


def _layer_of_part(node: fx.Node, part: str) -> bool:
    layer = layer_of(node)
    return layer is not None and layer_name(node, layer).startswith(part)


def test_insertion_is_deterministic_and_loads_its_own_state(
    folded: fx.GraphModule, uniform: Uniform, inputs: Tensor
) -> None:
    first = insert_quantizers(folded, uniform(4, 8))
    calibrate(first, [inputs])
    second = insert_quantizers(copy.deepcopy(folded), uniform(4, 8))
    assert list(first.state_dict()) == list(second.state_dict())
    assert [n for n, _ in first.named_parameters()] == [n for n, _ in second.named_parameters()]
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(inputs), second(inputs))
    assert torch.equal(copy.deepcopy(first)(inputs), first(inputs))


def test_the_given_graph_is_left_alone(folded: fx.GraphModule, uniform: Uniform, inputs: Tensor) -> None:
    before, code = folded(inputs), folded.code
    insert_quantizers(folded, uniform(2, 2))
    assert folded.code == code
    assert torch.equal(folded(inputs), before)


def test_all_that_is_learnt_gets_gradients(folded: fx.GraphModule, uniform: Uniform, inputs: Tensor) -> None:
    module = insert_quantizers(folded, uniform(4, 4))
    calibrate(module, [inputs])
    module.train()
    nn.functional.cross_entropy(module(inputs), torch.arange(32) % 10).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


class _Mixed(nn.Module):
    """Concatenation, arithmetic on shapes, a view, different bits, a layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu, self.pool, self.head = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.a(x)))
        both = torch.cat([self.relu(self.b(x)), self.relu(self.c(self.c(x)))], 1)
        n, channels, height, width = both.size()
        return self.head(both.view(n, channels, height * width).mean(2))  # type: ignore[no-any-return]


def test_other_graphs_run() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 1, 8, 8)
    model = _Mixed().eval()
    plan = BitWidthPlan({"a": 8, "b": 8, "c": 8, "head": 8}, {"a": 8, "b": 4, "c": 8, "head": 8})
    module = insert_quantizers(capture(model, x), plan)
    calibrate(module, [x])
    assert _bits(module) == {"a": (8, 8), "b": (8, 4), "c": (8, 8), "head": (8, 8)}
    assert float((module(x) - model(x)).detach().abs().max()) < 0.2


def test_a_layer_called_twice_has_one_quantiser_for_its_weights_and_two_for_its_bias() -> None:
    """The bias is rounded to multiples of its input's step, and the inputs differ."""
    module = insert_quantizers(capture(_Mixed(), torch.randn(4, 1, 8, 8)), BitWidthPlan({"c": 8}, {"c": 8}))
    names = {name for name, m in module.named_modules() if isinstance(m, Quantizer | BiasQuantizer)}
    assert {n for n in names if n.startswith("c.")} == {
        "c.weight_quantizer",
        "c.bias_quantizer",
        "c.bias_quantizer_again",
    }


class _Named(nn.Module):
    """Has a part under the name of its input's quantiser."""

    def __init__(self) -> None:
        super().__init__()
        self.quantize_x_8 = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.quantize_x_8(x)  # type: ignore[no-any-return]


def test_a_module_under_a_quantisers_name_is_named() -> None:
    captured, bits = capture(_Named(), torch.zeros(2, 3)), {"quantize_x_8": 8}
    with pytest.raises(
        ValueError, match=r"module named 'quantize_x_8', which its quantiser needs: rename it"
    ):
        insert_quantizers(captured, BitWidthPlan(bits, bits))


def test_activations_without_a_sign_fit_in_seven_bits_where_files_hold_them_signed(
    folded: fx.GraphModule, uniform: Uniform
) -> None:
    module = insert_quantizers(folded, uniform(8, 8), unsigned_bits=7)
    activations = [q for q in _quantizers(module) if q.channels is None]
    assert {(q.signed, q.low, q.high) for q in activations} == {(True, -128, 127), (False, 0, 127)}
    assert {q.high for q in _quantizers(module) if q.channels is not None} == {127}


def test_weights_fit_in_fewer_bits_than_they_are_held_in(folded: fx.GraphModule, uniform: Uniform) -> None:
    module = insert_quantizers(folded, uniform(8, 8), weight_bits=7)
    quantizers = [m for m in module.modules() if isinstance(m, Quantizer)]
    weights = [q for q in quantizers if q.channels is not None]
    assert {(q.low, q.high, q.bits) for q in weights} == {(-63, 63, 8)}
    assert {q.high for q in quantizers if q.channels is None} <= {127, 255}
    two = insert_quantizers(folded, uniform(2, 8), weight_bits=7)
    assert {q.high for q in two.modules() if isinstance(q, Quantizer) and q.channels is not None} == {1}
