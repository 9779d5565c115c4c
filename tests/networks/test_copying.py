"""Copies of networks that torch's own copy refuses."""

from __future__ import annotations

import pickle

import pytest
import torch
from ray import cloudpickle
from torch import nn
from torch.nn.utils import parametrizations

from raysearch.networks.copying import copy_of, let_pickle


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_a_network_with_a_computed_weight_is_copied_and_both_go_on(norm) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(3, 4)), nn.Linear(4, 2)).eval()
    x = torch.randn(5, 3)
    wanted = model(x)  # leaves a weight with its history in the layer
    copied = copy_of(model)
    pickle.dumps(copied)
    torch.testing.assert_close(copied(x), wanted)
    with torch.no_grad():
        next(copied.parameters()).zero_()
    torch.testing.assert_close(model(x), wanted)
    assert model[0].weight.requires_grad


@pytest.mark.parametrize(
    "norm", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]
)
def test_a_network_with_parametrizations_is_pickled_and_both_go_on(norm) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(4, 4)), nn.Linear(4, 2)).eval()
    x = torch.randn(5, 4)
    wanted = model(x)
    let_pickle(model)
    sent = cloudpickle.loads(cloudpickle.dumps(model))
    torch.testing.assert_close(sent(x), wanted)
    assert sent.state_dict().keys() == model.state_dict().keys()
    sent(x).sum().backward()
    assert all(p.grad is not None for p in sent.parameters())
    again = cloudpickle.loads(cloudpickle.dumps(copy_of(sent)))
    torch.testing.assert_close(again(x), wanted)
