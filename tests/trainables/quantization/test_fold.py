"""Folding is exact where it can be done, and left undone elsewhere."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from raysearch.networks.capture import capture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.quantization import fold_batch_norm, insert_quantizers

aten = torch.ops.aten


def norms(module: fx.GraphModule) -> int:
    """How many batch norms a graph computes."""
    return sum(node.target is aten.batch_norm.default for node in module.graph.nodes)


def looked_at(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, its batch norms with statistics and weights as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for name, tensor in module.state_dict().items():
                if tensor.dim():
                    low = 0.5 if name in ("running_var", "weight") else -1.0
                    tensor.copy_(low + 1.5 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def folded(model: nn.Module, x: Tensor) -> fx.GraphModule:
    return fold_batch_norm(capture(model, x))


def assert_folds(model: nn.Module, x: Tensor, left: int = 0) -> fx.GraphModule:
    """The folded network computes the same, with so many batch norms left."""
    torch.manual_seed(0)
    looked_at(model)
    module = folded(model, x[:2])
    assert norms(module) == left
    torch.testing.assert_close(module(x), model(x), rtol=1e-5, atol=2e-6)
    return module


def test_folding_changes_nothing_but_the_graph(network: nn.Module, inputs: Tensor) -> None:
    captured = capture(network, inputs[:2])
    before = {k: v.clone() for k, v in captured.state_dict().items()}
    code = captured.code
    module = fold_batch_norm(captured)
    assert norms(captured) > 0
    assert norms(module) == 0
    torch.testing.assert_close(module(inputs), network(inputs), rtol=1e-4, atol=1e-5)
    assert captured.code == code
    assert all(torch.equal(before[k], v) for k, v in captured.state_dict().items())


def test_layers_keep_their_names(network: nn.Module, folded: fx.GraphModule) -> None:
    layers = {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {n.removesuffix(".weight") for n, p in folded.named_parameters() if p.dim() > 1} == layers
    assert not list(folded.buffers())


LAYERS: list[tuple[str, nn.Module, nn.Module, tuple[int, ...]]] = [
    ("conv1d", nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), (3, 9)),
    (
        "conv1d, grouped and padded alike",
        nn.Conv1d(4, 6, 3, padding="same", groups=2),
        nn.BatchNorm1d(6),
        (4, 9),
    ),
    ("conv2d", nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), (3, 8, 8)),
    ("depthwise", nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.BatchNorm2d(8), (4, 8, 8)),
    (
        "conv2d, circular",
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(4),
        (3, 8, 8),
    ),
    ("conv3d", nn.Conv3d(2, 4, 3, bias=False), nn.BatchNorm3d(4), (2, 5, 6, 7)),
    ("transposed 1d", nn.ConvTranspose1d(3, 4, 3, stride=2), nn.BatchNorm1d(4), (3, 6)),
    ("transposed 2d", nn.ConvTranspose2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), (3, 6, 6)),
    ("transposed 2d, grouped", nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (4, 6, 6)),
    (
        "transposed 3d, grouped",
        nn.ConvTranspose3d(4, 6, 2, groups=2, bias=False),
        nn.BatchNorm3d(6),
        (4, 3, 4, 5),
    ),
    ("linear", nn.Linear(5, 4), nn.BatchNorm1d(4), (5,)),
    ("linear without bias", nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4), (5,)),
    ("a norm without weights", nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), (3, 4, 4)),
    ("another epsilon", nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=0.1), (3, 4, 4)),
]


@pytest.mark.parametrize(("layer", "norm", "shape"), [c[1:] for c in LAYERS], ids=[c[0] for c in LAYERS])
def test_a_layer_takes_its_norm_in(layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> None:
    module = assert_folds(nn.Sequential(layer, norm, nn.ReLU()), torch.randn(5, *shape))
    assert set(module.state_dict()) == {"0.weight", "0.bias"}
    assert len(module.get_parameter("0.bias")) == norm.num_features


class Own(nn.Module):
    """Parts that ``run`` joins."""

    def __init__(self, run: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def conv() -> nn.Module:
    return nn.Conv2d(2, 2, 1)


def twice(m: Any, x: Tensor) -> Tensor:
    y = m.conv(x)
    return m.bn(y) + y


LEFT = [
    ("a layer that others read", Own(twice, conv=conv(), bn=nn.BatchNorm2d(2)), 1),
    ("a layer called twice", Own(lambda m, x: m.bn(m.conv(m.conv(x))), conv=conv(), bn=nn.BatchNorm2d(2)), 1),
    (
        "a layer whose norms differ",
        Own(
            lambda m, x: m.a(m.conv(x)) + m.b(m.conv(x)),
            conv=conv(),
            a=nn.BatchNorm2d(2),
            b=nn.BatchNorm2d(2),
        ),
        2,
    ),
    ("an activation between", nn.Sequential(conv(), nn.ReLU(), nn.BatchNorm2d(2)), 1),
    ("no layer before", nn.Sequential(nn.BatchNorm2d(2), conv()), 1),
    ("two norms: the first alone", nn.Sequential(conv(), nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2)), 1),
]


@pytest.mark.parametrize(("model", "left"), [c[1:] for c in LEFT], ids=[c[0] for c in LEFT])
def test_a_norm_that_cannot_be_folded_stays(model: nn.Module, left: int) -> None:
    assert_folds(model, torch.randn(3, 2, 4, 4), left)


def test_a_layer_called_twice_with_one_norm_behind_it_takes_it_in() -> None:
    """As the one encoder of a network that compares two images."""

    def compare(m: Any, x: Tensor) -> Tensor:
        return m.encoder(x) - m.encoder(x.flip(-1)) + m.encoder(x * 2)

    for bias in (True, False):
        encoder = nn.Sequential(nn.Conv2d(2, 2, 3, bias=bias), nn.BatchNorm2d(2), nn.ReLU())
        module = assert_folds(Own(compare, encoder=encoder), torch.randn(3, 2, 4, 4))
        assert sum(p.numel() for p in module.parameters()) == 2 * 2 * 9 + 2, "the weights and one bias"
        assert all(isinstance(n.meta["val"], Tensor) for n in module.graph.find_nodes(op="get_attr"))
        eight = BitWidthPlan({"encoder.0": 8}, {"encoder.0": 8})
        assert "encoder.0.weight_quantizer" in dict(insert_quantizers(module, eight).named_modules())


def test_a_norm_over_tokens_is_along_another_axis() -> None:
    """BatchNorm1d on (n, tokens, features) has a channel for each token, not for each of the layer's own."""
    assert_folds(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), torch.randn(3, 4, 5), left=1)
    assert_folds(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(4)), torch.randn(3, 4, 5), left=1)


def test_layers_that_share_their_weights_keep_their_norms() -> None:
    model = nn.Sequential(conv(), nn.BatchNorm2d(2), conv(), nn.BatchNorm2d(2))
    model[2].weight = model[0].weight
    assert_folds(model, torch.randn(3, 2, 4, 4), left=2)


def test_a_norm_without_statistics_of_its_own_stays() -> None:
    """It normalises by the batch at hand, in evaluation too."""
    model = nn.Sequential(conv(), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    x = torch.randn(5, 2, 4, 4)
    torch.testing.assert_close(folded(model, x[:2])(x), model(x))


def test_frozen_layers_stay_frozen() -> None:
    model = nn.Sequential(conv(), nn.BatchNorm2d(2), conv(), nn.BatchNorm2d(2))
    model[0].requires_grad_(False)
    module = folded(model.eval(), torch.randn(2, 2, 4, 4))
    trained = {name: p.requires_grad for name, p in module.named_parameters()}
    assert trained == {"0.weight": False, "0.bias": False, "2.weight": True, "2.bias": True}


def test_a_folded_network_can_be_copied_and_folded_again(network: nn.Module, inputs: Tensor) -> None:
    once = fold_batch_norm(capture(network, inputs[:2]))
    again = fold_batch_norm(copy.deepcopy(once))
    assert torch.equal(again(inputs), once(inputs))


class Functional(nn.Module):
    """A convolution written out, with whatever stands for its weight and bias."""

    def __init__(self, weight: str, bias: str = "") -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.weight_name, self.bias_name = weight, bias
        self.kernel, self.weight = (nn.Parameter(torch.randn(4, 3, 3, 3)) for _ in range(2))
        self.bias = nn.Parameter(torch.randn(4))
        self.filter: Tensor
        self.register_buffer("filter", torch.randn(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        bias = 2 * getattr(self, self.bias_name) if self.bias_name else None
        y = nn.functional.conv2d(x, getattr(self, self.weight_name), bias)
        return torch.as_tensor(self.norm(y) + self.bias.view(-1, 1, 1))


@pytest.mark.parametrize("weight", ["kernel", "weight", "filter"])
@pytest.mark.parametrize("bias", ["", "bias"])
def test_a_weight_of_any_name_and_kind_takes_the_norm_in(weight: str, bias: str) -> None:
    assert_folds(Functional(weight, bias), torch.randn(3, 3, 6, 6))
