"""A program's tensors stand in the module under the network's own names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from zoo import Net, captured

from raysearch.networks.capture import capture
from raysearch.networks.unlifting import attribute, finished, hold, hold_module

aten = torch.ops.aten


def test_what_nobody_reads_is_not_held() -> None:
    net = Net(lambda m, x: m.a(x), a=nn.Linear(3, 2), unread=nn.Linear(3, 2))
    net.register_buffer("mask", torch.ones(3))
    assert set(capture(net, torch.randn(2, 3)).state_dict()) == {"a.weight", "a.bias"}


def test_after_a_change_what_is_no_longer_read_goes() -> None:
    module = capture(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.randn(2, 3))
    (relu,) = module.graph.output_node().args[0]
    relu.replace_all_uses_with(relu.all_input_nodes[0].all_input_nodes[0])
    finished(module)
    x = torch.randn(4, 3)
    assert not module.state_dict()
    assert torch.equal(module(x), x)


def test_constants_are_buffers() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = torch.tensor([1.0, 2.0, 3.0])  # an attribute, which no state dict holds

        def forward(self, x: Tensor) -> Tensor:
            return x * self.steps + torch.tensor([0.5])

    module, x = capture(Shifted(), torch.randn(2, 3)), torch.randn(4, 3)
    assert torch.equal(module(x), Shifted()(x))
    assert len(list(module.buffers())) == 2
    assert not list(module.parameters())


def test_a_batch_norm_is_one_operator_however_torch_wrote_it() -> None:
    """A statement that torch must make functional takes norms apart."""
    net = Net(lambda m, x: _first_to_zero(m.norm(m.a(x))), a=nn.Conv2d(2, 3, 1), norm=nn.BatchNorm2d(3))
    module = capture(net.eval(), torch.randn(2, 2, 4, 4))
    names = [n.target for n in module.graph.nodes if n.op == "call_function"]
    assert names.count(aten.batch_norm.default) == 1
    x = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(module(x), net(x))


def _first_to_zero(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x


def test_each_dropout_is_a_module_of_its_own() -> None:
    module = captured("dropout")
    calls = [n for n in module.graph.nodes if n.op == "call_module"]
    assert len({n.target for n in calls}) == len(calls) == 2
    assert all(n.meta["dropout"] for n in calls)


def test_tensors_and_modules_are_held_under_dotted_names() -> None:
    root = nn.Module()
    hold(root, "0.a.weight", nn.Parameter(torch.ones(2)))
    hold(root, "0.a.mean", torch.zeros(2))
    hold_module(root, "0.a.weight_quantizer", nn.Identity())
    assert set(root.state_dict()) == {"0.a.weight", "0.a.mean"}
    assert isinstance(root.get_submodule("0.a.weight_quantizer"), nn.Identity)
    module = captured("linear")
    (node, *_) = module.graph.find_nodes(op="get_attr")
    assert attribute(module, node) is module.get_parameter(str(node.target))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_a_word_is_written_in_numbers(padding: str, dilation: int) -> None:
    models = [
        nn.Conv1d(2, 3, 3, padding=padding, dilation=dilation),
        nn.Conv2d(2, 3, (3, 5), padding=padding, dilation=dilation, bias=False),
        nn.Conv2d(2, 4, 3, padding=padding, groups=2),
        nn.Conv1d(2, 3, 4, padding=padding),  # of an even kernel one side has more zeros
    ]
    for model in models:
        x = torch.randn(3, 2, *[12] * (model.weight.dim() - 2))
        captured = capture(model, x)
        assert torch.equal(captured(x), model(x))
        words = [n for n in captured.graph.nodes if "padding" in str(n.target)]
        assert len(words) == (padding == "same" and model.kernel_size == (4,))


def test_conversions_of_type_are_operators_that_files_have() -> None:
    class Bytes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float() / 255

    x = torch.randint(0, 255, (3, 2), dtype=torch.uint8)
    captured = capture(Bytes(), x)
    assert torch.equal(captured(x), x.float() / 255)
    assert "to_copy" in captured.code


def test_a_tensor_given_again_is_no_operator() -> None:
    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.ops.aten.alias(x[:, :3]))

    x = torch.randn(2, 3)
    module = capture(Whole(), x)
    assert not any(node.target is torch.ops.aten.alias.default for node in module.graph.nodes)
    torch.testing.assert_close(module(x), x.relu())
