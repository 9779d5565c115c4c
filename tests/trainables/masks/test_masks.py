import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raysearch.trainables.masks.masks import channel_units, weight_units


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)]
    return nn.Sequential(*layers).eval()


X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def parameters(net):
    return {name: p.detach() for name, p in net.named_parameters()}


def masked_output(net, units, mask):
    masks = {n: m.flatten().float() for n, m in units.split(mask).items()}
    return torch.func.functional_call(net, units.masked(parameters(net), masks), (X,))


def test_all_layers_with_weights_in_the_models_order(net):
    units = weight_units(net)
    assert units.sizes == {"0": 36, "4": 720}
    assert units.slices == {"0": slice(0, 36), "4": slice(36, 756)}
    assert weight_units(net, ["4", "1"]).sizes == {"4": 720, "1": 4}


@given(st.integers(0, 2**32 - 1))
def test_a_weight_mask_multiplies_its_weights_and_nothing_else(seed):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    units = weight_units(net)
    mask = np.random.default_rng(seed).random(units.total) < 0.5
    split = units.split(mask)
    changed = units.masked(parameters(net), {n: m.flatten().float() for n, m in split.items()})
    assert set(changed) == {"0.weight", "2.weight"}
    for name in ("0", "2"):
        assert torch.equal(changed[f"{name}.weight"], net.get_submodule(name).weight * split[name])
    assert np.array_equal(np.concatenate([m.flatten().numpy() for m in split.values()]), mask)


def test_a_dropped_channel_leaves_no_trace(net):
    nn.init.uniform_(net[1].bias, 1, 2)
    units = channel_units(net, X[:1])
    assert units.sizes == {"0": 4}
    mask = np.array([True, False, True, True])
    expected = net[:4](X)
    expected[:, 36:72] = 0
    assert torch.allclose(masked_output(net, units, mask), net[4](expected), atol=1e-6)
    assert units.split(mask)["0"].shape == (4,)


def test_channels_of_grouped_convolutions_go_in_step():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 5, 1)).eval()
    units = channel_units(net, X[:1], ["0"])
    assert units.sizes == {"0": 2}
    hidden = net[0](X)
    hidden[:, [1, 3, 5, 7]] = 0
    assert torch.allclose(masked_output(net, units, np.array([True, False])), net[1:](hidden), atol=1e-6)


def test_magnitudes(net):
    by_weight = weight_units(net, ["0"]).magnitudes(parameters(net))
    assert by_weight == pytest.approx(net[0].weight.detach().square().flatten().numpy())
    by_channel = channel_units(net, X[:1]).magnitudes(parameters(net))
    read = net[4].weight.detach().view(5, 4, 36).square().sum((0, 2))
    assert by_channel == pytest.approx((net[0].weight.detach().square().sum((1, 2, 3)) + read).numpy())


def test_a_shared_weight_is_masked_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    net[2].weight = net[0].weight
    assert weight_units(net).sizes == {"0": 16, "3": 8}
    assert weight_units(net, ["2"]).parameters(["2"]) == {"0.weight"}
    with pytest.raises(ValueError, match="layers names '0' and '2', which share a weight: name one of them"):
        weight_units(net, ["0", "2"])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["9"], "layers names '9', which is none of the model's"),
        (["2"], "layers names '2', a ReLU without a weight: name layers such as Linear or Conv2d"),
        (["0", "4", "0"], "layers names '0' twice"),
        ([], "layers is \\[\\]: give a list"),
        ("0", "layers is '0': give a list"),
    ],
)
def test_bad_layers(net, layers, message):
    with pytest.raises(ValueError, match=message):
        weight_units(net, layers)


def test_a_layer_that_is_no_root_of_a_group(net):
    with pytest.raises(ValueError, match=r"layers names '4', which is none of the model's.*known: 0"):
        channel_units(net, X[:1], ["4"])
