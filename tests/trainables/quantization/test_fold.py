from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from raysearch.trainables.quantization import fold_batch_norm


def test_folding_changes_nothing_but_the_modules(network: nn.Module, inputs: Tensor) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(folded(inputs), network(inputs), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_layers_keep_their_names(network: nn.Module) -> None:
    layers = {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert layers == {
        n for n, m in fold_batch_norm(network).named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    }


class _TwoReaders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.pass_on = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.pass_on(self.bn(y) + y)


def test_a_batch_norm_whose_input_others_read_stays() -> None:
    model = _TwoReaders().eval()
    model.bn.running_mean = torch.tensor([1.0, 2.0])
    folded = fold_batch_norm(model)
    assert isinstance(folded.get_submodule("bn"), nn.BatchNorm2d)
    x = torch.randn(2, 1, 4, 4)
    assert torch.equal(folded(x), model(x))


def test_linear_layers_fold_too() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    model[1].running_var.fill_(3.0)
    x = torch.randn(5, 3)
    torch.testing.assert_close(fold_batch_norm(model)(x), model(x))


class _Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_layer_that_cannot_be_traced_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"layer '1' \(_Branches\) cannot be traced by torch.fx: .*control flow"
    ):
        fold_batch_norm(nn.Sequential(nn.ReLU(), _Branches()))
    with pytest.raises(ValueError, match=r"the model \(_Branches\) cannot be traced"):
        fold_batch_norm(_Branches())
