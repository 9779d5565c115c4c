"""What is captured, and how what cannot be is refused."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from zoo import Net, captured

from raysearch.networks.capture import capture, flat_inputs, signature


def assert_same(model: nn.Module, x: Tensor) -> fx.GraphModule:
    """The captured network gives what the model does, and leaves the caller's input as it is."""
    model.eval()
    module = capture(model, x[:2])
    kept = x.clone()
    given = module(x)
    wanted = model(kept.clone())
    torch.testing.assert_close(given, wanted)
    return module


def test_the_model_is_left_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    module = capture(model, torch.randn(4, 3))
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    module.get_parameter("0.weight").data.zero_()
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not module.training


def test_one_example_is_enough() -> None:
    module = capture(nn.Linear(3, 2), torch.zeros(1, 3))
    assert [module(torch.zeros(n, 3)).shape for n in (1, 2, 9)] == [(1, 2), (2, 2), (9, 2)]


def test_a_captured_network_can_be_copied_and_trained() -> None:
    module = copy.deepcopy(captured("resnet")).train()
    assert signature(module) is signature(captured("resnet"))
    module(torch.randn(3, 3, 12, 12)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_dropout_lives_in_training() -> None:
    torch.manual_seed(0)
    module = copy.deepcopy(captured("dropout"))
    x = torch.randn(4, 6)
    assert torch.equal(module(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))
    rates = {m.p for m in module.modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.5, 0.2}


def test_whole_channels_are_dropped_together() -> None:
    module = capture(nn.Sequential(nn.Conv2d(1, 50, 1), nn.Dropout2d(0.5)), torch.ones(2, 1, 4, 4)).train()
    zeros = (module(torch.ones(1, 1, 4, 4)) == 0).flatten(2).float().mean(2)
    assert set(zeros.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("kind", ["alpha", "feature_alpha"])
def test_other_dropouts_leave_evaluation_alone(kind: str) -> None:
    layer = nn.AlphaDropout() if kind == "alpha" else nn.FeatureAlphaDropout()
    assert_same(nn.Sequential(nn.Linear(3, 3), layer), torch.randn(5, 3))


STATEMENTS: dict[str, Any] = {
    "relu_": lambda m, x: m.a(x).relu_(),
    "functional, in place": lambda m, x: F.relu(m.a(x), inplace=True),
    "hardtanh_": lambda m, x: F.relu6(m.a(x), inplace=True),
    "clamp_": lambda m, x: m.a(x).clamp_(0, 1),
    "on the input": lambda m, x: m.a(x.mul_(2)),
    "x += y": lambda m, x: _add(m.a(x), m.b(x)),
    "read before and after": lambda m, x: _before_and_after(m.a(x)),
    "a slice": lambda m, x: _zero_first(m.a(x)),
    "a view that is read later": lambda m, x: _through_a_view(m.a(x)),
    "masked_fill_": lambda m, x: m.a(x).masked_fill_(m.b(x) > 0, -1.0),
    "copy_": lambda m, x: m.a(x).copy_(m.b(x)),
    "zero_ and fill_": lambda m, x: m.a(x).zero_() + m.b(x).fill_(2.0),
    "sub_ with a factor": lambda m, x: m.a(x).sub_(m.b(x), alpha=0.5),
}


def _add(x: Tensor, y: Tensor) -> Tensor:
    x += y
    return x


def _before_and_after(x: Tensor) -> Tensor:
    before = x * 2
    x.relu_()
    return before + x


def _zero_first(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x


def _through_a_view(x: Tensor) -> Tensor:
    view = x.view(-1, 2, 2)
    x.relu_()
    return view.sum(-1)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statements_in_place(statement: str) -> None:
    torch.manual_seed(0)
    net = Net(STATEMENTS[statement], a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    module = assert_same(net, torch.randn(5, 4))
    targets = [n.target for n in module.graph.nodes if n.op == "call_function"]
    assert not [t for t in targets if isinstance(t, torch._ops.OpOverload) and t._schema.is_mutable]


def test_tensors_with_several_names_have_the_first() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3, bias=False))
    tied[2].weight = tied[0].weight
    assert set(assert_same(tied, torch.randn(4, 3)).state_dict()) == {"0.weight", "0.bias"}
    assert "same.weight" not in captured("twice").state_dict()
    assert "shared.weight" in captured("twice").state_dict()


class Wrapped(nn.Module):
    """Keywords in another order than the forward's own, with a default and something that is no tensor."""

    def forward(self, a: Tensor, b: Tensor | None = None, scale: float = 2.0) -> tuple[Tensor, None]:
        return a * scale + (0 if b is None else b), None


def test_inputs_are_called_as_the_task_calls_them() -> None:
    a, b = torch.rand(3, 2), torch.rand(3, 2)
    module = capture(Wrapped(), {"b": b, "a": a})
    assert signature(module).inputs == ("b", "a")
    assert torch.equal(module(b=b, a=a)[0], 2 * a + b)
    assert [t is b or t is a for t in flat_inputs(module, {"a": a, "b": b})] == [True, True]
    both = capture(Wrapped(), (a, b))
    assert signature(both).inputs == ("input_0", "input_1")
    assert signature(both).outputs == ("output_0",)
    assert both(a, b)[1] is None


def test_axes_that_are_named_vary() -> None:
    net = Net(lambda m, x: m.head(m.a(x).mean(1)), a=nn.Linear(3, 4), head=nn.Linear(4, 2))
    module = capture(net.eval(), torch.randn(2, 5, 3), {"input": {1: "tokens"}})
    for shape in ((1, 3, 3), (4, 9, 3)):
        torch.testing.assert_close(module(torch.ones(shape)), net(torch.ones(shape)))


def _two_convolutions(m: Any, x: Tensor) -> Tensor:
    return m.last(F.max_pool2d(torch.relu(m.a(x)), 2)).mean((2, 3))  # type: ignore[no-any-return]


VARYING: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...], dict[int, str]]] = [
    (
        Net(lambda m, x: m.b(m.a(x).relu()).mean(1), a=nn.Linear(4, 8), b=nn.Linear(8, 2)),
        (8, 4),
        (3, 4),
        {1: "t"},
    ),
    (Net(lambda m, x: m.a(x)[..., ::2], a=nn.Conv1d(4, 8, 3, stride=2)), (4, 16), (4, 11), {2: "time"}),
    (
        # Smaller pictures than 6 x 6 would leave nothing of the second convolution.
        Net(_two_convolutions, a=nn.Conv2d(3, 8, 3, padding=1), last=nn.Conv2d(8, 4, 3)),
        (3, 16, 16),
        (3, 9, 12),
        {2: "height", 3: "width"},
    ),
]


@pytest.mark.parametrize(("net", "seen", "other", "axes"), VARYING)
def test_how_far_an_axis_varies_is_found_out(
    net: nn.Module, seen: tuple[int, ...], other: tuple[int, ...], axes: dict[int, str]
) -> None:
    module = capture(net.eval(), torch.randn(2, *seen), {"input": axes})
    x = torch.randn(3, *other)
    torch.testing.assert_close(module(x), net(x))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("by nought")


REFUSED = [
    (nn.Sequential(nn.ReLU(), Branching()), r"layer '1' \(Branching\) .*depends on the values of a tensor"),
    (
        Net(lambda m, x: m.a(x) if m.a(x).max() > 0 else x, a=nn.ReLU()),
        r"the model \(Net\) cannot be captured",
    ),
    (
        nn.Sequential(nn.Sequential(Fails())),
        r"layer '0\.0' \(Fails\) fails .*: ZeroDivisionError: by nought \(test_capture.py, line \d+\)",
    ),
    (Net(lambda _, x: x.view(2, -1)), r"it fixes the size of an axis that varies: the batch's"),
]


@pytest.mark.parametrize(("model", "message"), REFUSED)
def test_what_cannot_be_captured_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        capture(model, torch.randn(2, 3))


def test_an_axis_that_does_not_vary_is_named() -> None:
    net = Net(lambda m, x: m.a(x.flatten(1)), a=nn.Linear(15, 4))
    with pytest.raises(ValueError, match=r"it fixes the size of input's axis 1 \(tokens\), which varies"):
        capture(net, torch.randn(2, 5, 3), {"input": {1: "tokens"}})


@dataclass
class Classified:
    """An output class that nobody has told torch of."""

    logits: Tensor
    hidden: Tensor | None = None


def test_an_output_class_that_torch_does_not_know() -> None:
    net = Net(lambda m, x: Classified(m.head(x)), head=nn.Linear(3, 2)).eval()
    module, x = capture(net, torch.zeros(2, 3)), torch.randn(5, 3)
    given = module(x)
    assert isinstance(given, Classified)
    torch.testing.assert_close(given.logits, net(x).logits)
    assert given.hidden is None
    assert signature(module).outputs == ("logits",)
