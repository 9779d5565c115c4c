"""Weights that are computed from parameters become parameters of the captured network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm
from zoo import Net

from raysearch.networks.capture import capture
from raysearch.networks.copying import copy_of


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def doubled(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", Doubled())


WRAPPERS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "one's own": doubled,
    "old weight_norm": old_weight_norm,
    "old spectral_norm": old_spectral_norm,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_layers_weight_is_one_parameter_under_its_own_name(wrapper: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(WRAPPERS[wrapper](nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 4)
    model(x)  # the hooks of the old norms leave a weight with a history in the layer
    model.eval()
    module = capture(model, x[:2])
    torch.testing.assert_close(module(x), model(x))
    assert set(module.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_copies_after_a_forward_pass(wrapper: str) -> None:
    model = nn.Sequential(WRAPPERS[wrapper](nn.Linear(4, 4))).eval()
    x = torch.randn(3, 4)
    wanted = model(x)
    copied = copy_of(model)
    assert torch.equal(copied(x), wanted)
    next(copied.parameters()).data.zero_()
    assert torch.equal(model(x), wanted)


def test_a_frozen_source_gives_a_frozen_weight() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))).requires_grad_(False)
    assert not capture(model, torch.randn(2, 4)).get_parameter("0.weight").requires_grad


def test_a_computed_weight_is_there_before_all_that_read_it() -> None:
    def forward(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight = 2 * m.a.weight
        return x * weight.abs().sum() + torch.nn.functional.linear(x, weight, m.a.bias + 1)

    net = Net(forward, a=nn.Linear(4, 4)).eval()
    x = torch.randn(5, 4)
    torch.testing.assert_close(capture(net, x[:2])(x), net(x))


def test_a_fixed_filter_is_a_weight_that_is_not_trained() -> None:
    net = Net(lambda m, x: torch.nn.functional.linear(x, m.a.filter), a=nn.Identity()).eval()
    net.a.register_buffer("filter", torch.randn(3, 4))
    module = capture(net, torch.randn(2, 4))
    assert not module.get_parameter("a.filter").requires_grad
    assert not list(module.buffers())


def test_a_weight_that_depends_on_the_input_stays_computed() -> None:
    net = Net(lambda m, x: torch.nn.functional.linear(x, m.a(x).t() @ x), a=nn.Linear(4, 3))
    module = capture(net, torch.randn(2, 4))
    assert set(module.state_dict()) == {"a.weight", "a.bias"}
    x = torch.randn(5, 4)
    torch.testing.assert_close(module(x), net(x))


class Tied(nn.Module):
    """Words in, words out, by one table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids) @ self.table.weight.t()  # type: ignore[no-any-return]


def test_a_product_with_a_transposed_parameter_is_a_linear_layer_of_that_parameter() -> None:
    model, ids = Tied(), torch.randint(7, (3, 5))
    captured = capture(model, ids)
    assert [n for n, _ in captured.named_parameters()] == ["table.weight"]
    torch.testing.assert_close(captured(ids), model(ids))
