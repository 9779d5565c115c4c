from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.resnet import ResNetPlan
from raysearch.trainables.quantization import (
    QuantizedLayer,
    Quantizer,
    calibrate,
    fold_batch_norm,
    insert_quantizers,
)

Uniform = Callable[[int, int], BitWidthPlan]


def _readers(module: fx.GraphModule) -> dict[str, int | None]:
    """For each layer, the bits of the quantiser it reads from, None where it reads floats."""
    modules = dict(module.named_modules())
    found: dict[str, int | None] = {}
    for node in module.graph.nodes:
        if node.op == "call_module" and isinstance(
            modules[node.target], QuantizedLayer | nn.Conv2d | nn.Linear
        ):
            source = modules.get(str(node.args[0].target))
            found[node.target] = source.bits if isinstance(source, Quantizer) else None
    return found


@pytest.mark.parametrize("seed", range(10))
def test_every_layer_has_exactly_the_bits_of_its_plan(
    network: nn.Module, resnet_plan: ResNetPlan, seed: int
) -> None:
    draw = random.Random(seed)
    parts = resnet_plan.parts()
    plan = BitWidthPlan(
        {p: draw.choice([2, 4, 8, 16, 32]) for p in parts}, {p: draw.choice([2, 4, 8, 16, 32]) for p in parts}
    )
    module = insert_quantizers(fold_batch_norm(network), plan)
    for name, bits in _readers(module).items():
        weight_bits, activation_bits = plan.layer(name)
        layer = module.get_submodule(name)
        assert bits == (activation_bits if activation_bits < 32 else None)
        assert (layer.quantizer.bits if isinstance(layer, QuantizedLayer) else 32) == weight_bits


def test_a_uniform_plan_quantises_every_tensor_between_operators(
    network: nn.Module, uniform: Uniform
) -> None:
    module = insert_quantizers(fold_batch_norm(network), uniform(8, 8))
    modules = dict(module.named_modules())
    for node in module.graph.nodes:
        merge = node.op == "call_function" and "add" in str(node.target)
        pool = node.op == "call_module" and isinstance(modules[node.target], nn.AdaptiveAvgPool2d)
        if merge or pool:
            assert all(isinstance(modules[str(n.target)], Quantizer) for n in node.all_input_nodes)
    for node in module.graph.nodes:
        quantizers = [u for u in node.users if isinstance(modules.get(str(u.target)), Quantizer)]
        assert len(quantizers) <= 1  # and nothing else reads a tensor that has one, so that operators fuse
        assert not quantizers or len(node.users) == 1


def test_values_that_cannot_be_negative_are_unsigned(network: nn.Module, uniform: Uniform) -> None:
    module = insert_quantizers(fold_batch_norm(network), uniform(8, 8))
    signed = {n: m.signed for n, m in module.named_children() if isinstance(m, Quantizer)}
    assert signed["quantize_stem_relu_8"] is False
    assert signed["quantize_x_8"] is True
    assert {s for n, s in signed.items() if "conv2" in n} == {True}
    assert {s for n, s in signed.items() if "pool" in n} == {False}


def test_float_parts_have_no_quantiser(network: nn.Module, resnet_plan: ResNetPlan, uniform: Uniform) -> None:
    folded = fold_batch_norm(network)
    assert not [m for m in insert_quantizers(folded, uniform(32, 32)).modules() if isinstance(m, Quantizer)]
    bits = {p: 8 if p in ("stem", "stage1") else 32 for p in resnet_plan.parts()}
    module = insert_quantizers(folded, BitWidthPlan(bits, bits))
    calls = [n for n in module.graph.nodes if n.op == "call_module" and n.target.startswith("quantize_")]
    quantized = {str(n.args[0]) for n in calls}
    assert quantized
    assert not [n for n in quantized if n.startswith(("stage2", "stage3", "pool", "head"))]


def test_insertion_is_deterministic_and_loads_its_own_state(
    network: nn.Module, uniform: Uniform, inputs: Tensor
) -> None:
    folded = fold_batch_norm(network)
    first = insert_quantizers(folded, uniform(4, 8))
    calibrate(first, [inputs])
    second = insert_quantizers(fold_batch_norm(network), uniform(4, 8))
    assert list(first.state_dict()) == list(second.state_dict())
    assert [n for n, _ in first.named_parameters()] == [n for n, _ in second.named_parameters()]
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(inputs), second(inputs))
    assert torch.equal(copy.deepcopy(first)(inputs), first(inputs))


def test_the_given_graph_is_left_alone(network: nn.Module, uniform: Uniform, inputs: Tensor) -> None:
    folded = fold_batch_norm(network)
    before, code = folded(inputs), folded.code
    insert_quantizers(folded, uniform(2, 2))
    assert folded.code == code
    assert torch.equal(folded(inputs), before)


def test_all_that_is_learnt_gets_gradients(network: nn.Module, uniform: Uniform, inputs: Tensor) -> None:
    module = insert_quantizers(fold_batch_norm(network), uniform(4, 4))
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
    module = insert_quantizers(fold_batch_norm(model), plan)
    calibrate(module, [x])
    assert _readers(module) == {"a": 8, "b": 4, "c": 8, "head": 8}
    assert float((module(x) - model(x)).detach().abs().max()) < 0.2


def test_an_unknown_form_is_refused(network: nn.Module, uniform: Uniform) -> None:
    with pytest.raises(ValueError, match=r"form is 'int5'.*uint8"):
        insert_quantizers(fold_batch_norm(network), uniform(8, 8), form="int5")
