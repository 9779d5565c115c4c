"""Heads that are removed compute what heads that nothing reads do, in attention as people write it."""

from __future__ import annotations

import copy
from typing import Any

import attention_networks as networks
import pytest
import torch
import zoo
from torch import Tensor, nn

from raysearch.networks.attention.fewer_heads import FewerHeads
from raysearch.networks.attention.heads import Attention, attentions, remove_heads, split_heads
from raysearch.networks.attention.trial import sound_heads
from raysearch.networks.groups import prunable_groups

X = networks.tokens(3)
SOUND = {
    "fused": (networks.Fused, "attention.(heads)", 3),
    "wider": (lambda: networks.Fused(heads=4, size=8), "attention.(heads)", 4),
    "outside": (networks.Outside, "attention.attention.(heads)", 3),
    "torch": (lambda: networks.Torchs(batch_first=True), "attention.attention.(heads)", 3),
    "torch, tokens first": (lambda: networks.Torchs(bias=False), "attention.attention.(heads)", 3),
}
UNSOUND = {
    "the width of what is read": lambda: networks.Fused(by_input=True),
    "another order": networks.Interleaved,
}


def sound(model: nn.Module, inputs: Any) -> dict[str, Attention]:
    return sound_heads(model, inputs, attentions(model, inputs))


def unread(model: nn.Module, attention: Attention, heads: list[int]) -> nn.Module:
    """A copy in which nothing reads these heads."""
    masked = copy.deepcopy(model)
    read = attention.slices[-1]
    split_heads(masked.get_parameter(read.parameter).detach(), read, attention.count)[:, :, heads] = 0
    return masked


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("heads", [[0], [1], [0, 2]])
def test_removed_heads_are_heads_that_nothing_reads(kind: str, heads: list[int]) -> None:
    make, name, count = SOUND[kind]
    torch.manual_seed(0)
    model = networks.Classifier(make()).eval()
    nn.init.ones_(model.scale)
    attention = sound(model, X)[name]
    assert attention.count == count
    expected = unread(model, attention, heads)(X)
    assert not torch.allclose(expected, model(X), atol=1e-4)
    remove_heads(model, attention, heads)
    torch.testing.assert_close(model(X), expected)
    again = attentions(model, X)
    if len(heads) == 1:
        assert again[name].count == count - 1
    model.train()(X).sum().backward()


@pytest.mark.parametrize("kind", UNSOUND)
def test_what_the_code_counts_on_otherwise_keeps_its_heads(kind: str) -> None:
    model = networks.Classifier(UNSOUND[kind]())
    assert list(attentions(model, X)) == ["attention.(heads)"]
    assert sound(model, X) == {}
    with pytest.warns(UserWarning, match="left out of pruning") as said:
        assert "attention.(heads)" not in prunable_groups(model, X)
    assert "since removing is not the same as not reading: attention.(heads)" in str(said[0].message)


@pytest.mark.parametrize(
    "options", [{"add_bias_kv": True}, {"kdim": 12, "vdim": 12}, {"add_zero_attn": True}]
)
def test_options_of_torchs_attention_that_keep_its_heads(options: dict[str, Any]) -> None:
    same = options.get("kdim") == networks.WIDTH  # as if it were not given
    assert bool(sound(networks.Classifier(networks.Torchs(**options)), X)) is same


def test_weights_that_the_model_gives_keep_the_heads() -> None:
    x = torch.randn(2, 5, networks.WIDTH)
    assert list(sound(networks.Cross(weights=False), x)) == ["attention.(heads)"]
    assert sound(networks.Cross(weights=True), x) == {}


def test_of_several_attentions_those_are_left_out_that_do_not_suit() -> None:
    model = nn.Sequential(networks.Classifier(networks.Fused(), 5), nn.Unflatten(1, (1, 5)))
    model.append(networks.Classifier(networks.Interleaved()))
    assert list(sound(model, X)) == ["0.attention.(heads)"]


def test_groups_have_heads_in_the_place_of_the_layers_that_make_them() -> None:
    model = networks.Classifier(networks.Fused())
    assert prunable_groups(model, X) == {"embed": 12, "mlp.0": 16, "attention.(heads)": 3}
    assert prunable_groups(model, X, exclude=["attention.qkv"]) == {"embed": 12, "mlp.0": 16}
    # What attention gives is added to the embedding.
    assert prunable_groups(model, X, exclude=["attention"]) == {"mlp.0": 16}
    assert prunable_groups(networks.Cross(weights=False), torch.randn(2, 5, 12)) == {"attention.(heads)": 3}


def test_a_model_is_left_as_it_was_and_what_is_frozen_stays_so() -> None:
    model = networks.Classifier(networks.Torchs(batch_first=True)).train()
    model.attention.attention.in_proj_weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    (attention,) = sound(model, X).values()
    assert model.training
    assert type(model.attention.attention) is nn.MultiheadAttention
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    remove_heads(model, attention, [1])
    assert not model.attention.attention.in_proj_weight.requires_grad
    assert model.attention.attention.out_proj.weight.requires_grad
    assert model.attention.attention.out_proj.in_features == 8


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_heads_of_torchs_encoder_go_with_padding_in_any_mode() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 2).eval()  # takes nested tensors where it can

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, x: Tensor, padding: Tensor) -> Tensor:
            y: Tensor = self.encoder(x, src_key_padding_mask=padding)
            return y.masked_fill(padding[..., None], 0).sum(1)

    model, inputs = Encoder(), zoo.tokens_and_padding(4)
    found = sound(model, inputs)
    assert list(found) == [f"encoder.layers.{i}.self_attn.(heads)" for i in range(2)]
    for attention in found.values():
        remove_heads(model, attention, [0])
    expected = model.train()(*inputs)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(*inputs), expected)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_all_heads_kept_compute_what_torchs_attention_does(batch_first: bool, weights: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    ours = copy.deepcopy(theirs)
    ours.__class__ = FewerHeads
    q, k = torch.randn(3, 3, 8), torch.randn(3, 3, 8)
    triangle, padding = torch.ones(3, 3).triu(1).bool(), torch.tensor([[0, 0, 1]] * 3).bool()
    masks = [{}, {"attn_mask": triangle}, {"key_padding_mask": padding}]
    masks += [{"attn_mask": triangle, "key_padding_mask": padding, "average_attn_weights": False}]
    masks += [{"attn_mask": torch.randn(3, 3)}]
    calls = [((q, k, k), mask) for mask in masks] + [((q, q, q), {}), ((q, k, q), {})]
    calls += [((q[0], k[0], k[0]), {"key_padding_mask": padding[0]})]
    for inputs, options in calls:
        expected, expected_weights = theirs(*inputs, need_weights=weights, **options)
        found, found_weights = ours(*inputs, need_weights=weights, **options)
        torch.testing.assert_close(found, expected)
        assert (found_weights is None) is (expected_weights is None)
        if weights:
            torch.testing.assert_close(found_weights, expected_weights)
