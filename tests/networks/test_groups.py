import time

import pytest
import torch
from torch import nn

from raysearch.networks.groups import CannotPrune, prunable_groups, quantizable_layers, take_apart


def test_groups_join_what_a_skip_adds(model, example):
    model.train()
    model.first.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert prunable_groups(model, example) == {"first": 16, "third": 24}
    assert model.training
    assert not model.first.weight.requires_grad
    assert model.second.weight.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_groups_are_found_without_gradients(model, example):
    with torch.no_grad():
        assert len(prunable_groups(model, example)) == 2


def test_grouped_convolutions():
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 3, groups=4), nn.Conv2d(32, 5, 1))
    assert prunable_groups(model, torch.zeros(1, 3, 8, 8)) == {"0": 16, "1": 32}


def test_layers_to_quantise(model, example):
    assert quantizable_layers(model, example) == ("first", "second", "third", "head")


def test_a_model_without_prunable_layers():
    with pytest.raises(CannotPrune, match="has no layer whose channels can be pruned"):
        prunable_groups(nn.Linear(3, 2), torch.zeros(1, 3))


class Reshaping(nn.Module):
    """Its middle depends on a channel count written into the code."""

    def __init__(self, more: bool) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 16), nn.Linear(16, 2)
        self.more = more

    def forward(self, x):
        x = self.first(x)
        x = x * torch.ones(8) if self.more else x
        x = self.second(x)
        return self.last(x * torch.ones(16))


def test_a_model_that_breaks_when_pruned_names_layer_and_operator():
    with pytest.raises(
        ValueError, match=r"after pruning, the model \(Reshaping\) fails at the operator 'mul'"
    ):
        prunable_groups(Reshaping(more=True), torch.zeros(1, 4))


def test_groups_that_break_the_model_are_left_out():
    with pytest.warns(UserWarning, match="left out of pruning.*: second"):
        assert prunable_groups(Reshaping(more=False), torch.zeros(1, 4)) == {"first": 8}


def test_a_wrong_input_names_the_layer(model):
    with pytest.raises(
        ValueError, match=r"the layer 'first' \(Conv2d\) fails at the operator .*shape \(1, 1, 8, 8\)"
    ):
        prunable_groups(model, torch.zeros(1, 1, 8, 8))


def test_taking_apart_is_limited_in_time(model, example, monkeypatch):
    import torch_pruning as tp

    def hang(graph, *_, **__):
        while True:
            try:
                time.sleep(0.01)
            except:  # noqa: E722 - a library that swallows everything
                return graph

    monkeypatch.setattr(tp.DependencyGraph, "get_all_groups", hang)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"torch-pruning took longer than 0.2 s"):
        take_apart(model, example, time_limit_s=0.2)
    assert time.monotonic() - start < 3


def test_a_torchvision_model_that_torch_pruning_cannot_handle():
    models = pytest.importorskip("torchvision.models")
    model = models.shufflenet_v2_x0_5(num_classes=4)
    with pytest.raises(ValueError, match="torch-pruning failed, at the layer 'stage4"):
        prunable_groups(model, torch.zeros(1, 3, 32, 32))


def test_what_is_excluded_keeps_its_channels_and_what_is_tied_to_them(model, example):
    assert prunable_groups(model, example, exclude=["third"]) == {"first": 16}
    # The skip adds the first layer's channels to the second's.
    assert prunable_groups(model, example, exclude=["second"]) == {"third": 24}
    assert quantizable_layers(model, example, ["second", "head"]) == ("first", "third")
    nested = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 6)), nn.Linear(6, 2))
    assert prunable_groups(nested, torch.zeros(2, 4)) == {"0.0": 8, "0.1": 6}
    with pytest.raises(ValueError, match="has no layer whose channels can be pruned"):
        prunable_groups(nested, torch.zeros(2, 4), exclude=["0"])


class Pair(nn.Module):
    """Two inputs, one of whole numbers, and a mapping as output."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.first, self.last = nn.Embedding(5, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, ids, x):
        return {"y": self.last(torch.relu(self.first(x)) + self.table(ids).sum(1))}


@pytest.mark.parametrize("mapping", [False, True])
def test_a_model_of_several_inputs_is_taken_apart(mapping):
    ids, x = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3)
    inputs = {"x": x, "ids": ids} if mapping else (ids, x)
    assert prunable_groups(Pair(), inputs) == {"first": 4}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_layers_whose_weights_are_computed_keep_their_channels():
    model = nn.Sequential(
        nn.Linear(3, 8), nn.utils.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 6), nn.Linear(6, 2)
    )
    with pytest.warns(UserWarning, match="left out of pruning"):
        groups = prunable_groups(model, torch.zeros(2, 3))
    assert groups == {"2": 6}


class Recurrent(nn.Module):
    """A recurrent layer, or a cell that is called step by step, between linear layers."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.before, self.cell = nn.Linear(4, 8), nn.Linear(8, 8), kind(8, 6)
        self.behind, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = torch.relu(self.before(torch.relu(self.first(x))))
        if isinstance(self.cell, nn.RNNBase):
            state = self.cell(x)[0][:, -1]
        else:
            state = self.cell(x[:, 1], self.cell(x[:, 0]))
        return self.last(torch.relu(self.behind(state)))


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN, nn.GRUCell, nn.RNNCell])
def test_what_a_recurrent_layer_reads_keeps_its_channels_and_all_else_may_lose_some(kind):
    model, x = Recurrent(kind), torch.randn(2, 3, 4)
    assert prunable_groups(model, x) == {"first": 8, "behind": 8}
    assert prunable_groups(Recurrent(nn.LSTM), x) == {"first": 8, "before": 8, "behind": 8}
