"""Pruning attention heads: which go, what stays, and that the network is a network like others after it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import attention_networks as networks
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.networks.attention.heads import attentions
from raysearch.networks.capture import capture
from raysearch.networks.groups import prunable_groups, quantizable_layers
from raysearch.search_spaces import bind
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.pruning.channel_pruning import CRITERIA, SEARCHED, PruningPlan, channel_pruning
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.agreement import onnx_error
from raysearch.trainables.pruning import prune, prune_like
from raysearch.trainables.pruning.heads import head_scores, least_heads
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers

X = networks.tokens(8)
EXAMPLES = TensorDataset(X, torch.arange(8) % 4)
KINDS = {
    "fused": networks.Fused,
    "outside": networks.Outside,
    "torch": lambda: networks.Torchs(batch_first=True),
}


def model_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = networks.Classifier(KINDS[kind]())
    nn.init.ones_(model.scale)
    return model.eval()


def heads_of(model: nn.Module) -> Mapping[str, int]:
    return {name: a.count for name, a in attentions(model, X).items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "criterion", [name for name in CRITERIA if name not in (*SEARCHED, "batch_norm_scale")]
)
def test_the_head_that_nothing_needs_goes(kind: str, criterion: str) -> None:
    model = model_of(kind)
    ((name, attention),) = attentions(model, X).items()
    with torch.no_grad():
        for part in attention.slices:
            weight = model.get_parameter(part.parameter)
            weight.unflatten(part.dim, (part.parts, 3, -1)).select(part.dim + 1, 1).mul_(1e-3)
    expected = model(X)
    plan = PruningPlan({name: 0.4}, criterion, 8)
    history = prune(model, X[:2], plan, examples=EXAMPLES)
    if criterion in ("random", "fpgm"):  # of three heads, a head of zeros is not the most replaceable
        assert len(history[0][1]) == 1
    else:
        assert history == [(name, [1])]
        torch.testing.assert_close(model(X), expected, atol=1e-4, rtol=1e-4)
    assert heads_of(model) == {name: 2}


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_of_channels_and_heads_is_replayed(kind: str) -> None:
    model = model_of(kind)
    fresh, plan = copy.deepcopy(model), PruningPlan(dict.fromkeys(prunable_groups(model, X), 0.5), multiple=2)
    history = json.loads(json.dumps(prune(model, X[:2], plan)))
    assert [root for root, _ in history][-1].endswith("(heads)")
    prune_like(fresh, X[:2], history)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(X), model(X))
    assert len(history) == 3
    with pytest.raises(ValueError, match=r"of another model: no head 7 in '.*\(heads\)'"):
        prune_like(model_of(kind), X[:2], [(history[-1][0], [7])])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_quantised_and_exported(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    layers = quantizable_layers(model, X)
    (name,) = heads_of(model)
    prune(model, X[:2], PruningPlan({name: 0.5, "mlp.0": 0.5}, multiple=1))
    assert quantizable_layers(model, X) == layers
    captured = fold_batch_norm(capture(model, X[:2]))
    torch.testing.assert_close(captured(X), model(X))
    bits = dict.fromkeys(layers, 8)
    quantized = insert_quantizers(captured, BitWidthPlan(bits, bits))
    calibrate(quantized, [X])
    path = tmp_path / "model.onnx"
    export_onnx(quantized, path)
    error, _ = onnx_error(quantized, path, X)
    assert error < 1e-4


def test_a_space_counts_whole_heads() -> None:
    model = model_of("fused")
    space = bind({"pruning": channel_pruning(0.8)}, model=model, example_input=X[:2], channel_multiple=8)
    assert space.groups == {"embed": 12, "mlp.0": 16, "attention.(heads)": 3}

    def canonical(ratio: float) -> float:
        pruning = {"ratios": {"attention.(heads)": ratio}}
        return space.variant({"pruning": pruning}).config.get("pruning", {"ratios": {}})["ratios"]

    assert canonical(0.1) == {}
    assert canonical(0.2) == canonical(0.45) == {"attention.(heads)": pytest.approx(1 / 3, abs=1e-6)}
    assert canonical(0.8) == {"attention.(heads)": pytest.approx(2 / 3, abs=1e-6)}


def test_never_all_heads_go_and_ratios_of_parts_are_theirs() -> None:
    assert least_heads(torch.tensor([3.0, 1.0, 2.0]), 1) == [1, 2]
    assert least_heads(torch.tensor([3.0, 1.0, 2.0]), 3) == []
    model = model_of("torch")
    prune(model, X[:2], PruningPlan({"attention": 0.7}))
    assert model.attention.attention.num_heads == 1
    assert model(X).shape == (8, 4)


def test_scores_that_are_no_numbers_are_magnitudes() -> None:
    model = model_of("fused")
    (attention,) = attentions(model, X).values()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    scores = head_scores(model, attention, "taylor")
    assert torch.equal(scores, head_scores(model, attention, "magnitude"))
    rows = model.attention.qkv.weight.unflatten(0, (3, 3, 4)).square().sum((0, 2, 3))
    columns = model.attention.proj.weight.unflatten(1, (3, 4)).square().sum((0, 2))
    torch.testing.assert_close(scores, (rows + columns).detach() / 2)
