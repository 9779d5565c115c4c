"""Recurrent layers are one operator each, and their sequences may vary in length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import rnn
from torch.nn.utils.rnn import pack_padded_sequence

from raysearch.networks import recurrent
from raysearch.networks.capture import capture

aten = torch.ops.aten
FORMS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "dropout": 0.1},
    {"bidirectional": True},
    {"batch_first": False},
    {"bias": False},
]


class Recurrent(nn.Module):
    """All that a recurrent layer gives."""

    def __init__(self, kind: type[nn.RNNBase], **keywords: Any) -> None:
        super().__init__()
        self.layer = kind(4, 6, **{"batch_first": True, **keywords})

    def forward(self, x: Tensor) -> Any:
        return self.layer(x if self.layer.batch_first else x.transpose(0, 1))


@pytest.mark.parametrize("keywords", FORMS, ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_sequences_of_any_length(kind: type[nn.RNNBase], keywords: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Recurrent(kind, **keywords).eval()
    module = capture(model, torch.randn(2, 5, 4), {"input": {1: "time"}})
    operators = [node.target for node in module.graph.nodes]
    assert sum(op in (aten.lstm.input, aten.gru.input) for op in operators) == 1
    x = torch.randn(3, 8, 4)
    torch.testing.assert_close(module(x), model(x))


def test_a_plain_recurrent_layer_takes_its_number_of_steps_as_given() -> None:
    model = Recurrent(nn.RNN).eval()
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(capture(model, x[:2])(x), model(x))
    with pytest.raises(ValueError, match=r"it fixes the size of input's axis 1 \(time\)"):
        capture(model, x, {"input": {1: "time"}})


def test_torch_s_own_functions_are_back_afterwards() -> None:
    before = rnn._VF
    with recurrent.whole():
        packed = pack_padded_sequence(torch.randn(2, 5, 4), torch.tensor([5, 3]), batch_first=True)
        model = Recurrent(nn.GRU)
        inside = model.layer(packed)[1]
        assert rnn._VF is not before
    assert rnn._VF is before
    torch.testing.assert_close(inside, model.layer(packed)[1])
