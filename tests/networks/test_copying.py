"""Copies of networks that torch's own copy refuses."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from raysearch.networks.copying import copy_of


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
