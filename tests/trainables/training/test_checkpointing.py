"""Activations that are computed again: the same training, with less kept."""

from __future__ import annotations

import copy

import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from raysearch.networks.copying import copy_of
from raysearch.networks.nests import Nest, call, tensors
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers
from raysearch.trainables.training.checkpointing import recomputing
from raysearch.trainables.training.distillation import Forward
from raysearch.trainables.training.precision import in_precision


def loss_of(outputs: Nest) -> Tensor:
    return torch.stack([t.float().square().mean() for t in tensors(outputs) if t.is_floating_point()]).sum()


def trained(network: nn.Module, forward: Forward, inputs: Nest) -> dict[str, Tensor]:
    """Gradients and buffers after two passes, the second with other statistics than the first."""
    torch.manual_seed(3)
    for _ in range(2):
        loss_of(forward(network, inputs)).backward()  # type: ignore[no-untyped-call]
    gradients = {f"{n} gradient": p.grad for n, p in network.named_parameters() if p.grad is not None}
    return {**gradients, **{n: b.clone() for n, b in network.named_buffers()}}


def check_same(one: nn.Module, other: nn.Module, inputs: Nest, inner: str = "float32") -> None:
    plain, again = (in_precision(f, inner, torch.device("cpu")) for f in (call, recomputing(other)))
    expected, found = trained(one, plain, inputs), trained(other, again, inputs)
    assert expected.keys() == found.keys()
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    assert not any("forward" in vars(module) for module in other.modules())


KINDS = (
    "resnet inverted_residuals densenet vision_transformer masked_encoder lstm gru text dropout "
    "norms_of_weights twice output_class two_inputs linear u_net"
)


@pytest.mark.parametrize("kind", KINDS.split())
def test_gradients_and_buffers_are_those_of_keeping_all(kind: str) -> None:
    one, other = (copy_of(zoo.network(kind)).train() for _ in range(2))
    check_same(one, other, zoo.NETWORKS[kind].inputs(4))


@pytest.mark.parametrize("kind", ["resnet", "masked_encoder", "lstm", "text", "output_class"])
def test_so_are_those_of_a_quantised_graph(kind: str) -> None:
    folded = fold_batch_norm(zoo.captured(kind))
    quantized = insert_quantizers(folded, zoo.uniform(folded, 8, 8))
    calibrate(quantized, [zoo.NETWORKS[kind].inputs(4)])
    one, other = (copy.deepcopy(quantized).train() for _ in range(2))
    check_same(one, other, zoo.NETWORKS[kind].inputs(4))


def test_so_are_those_in_half_precision() -> None:
    one, other = (copy_of(zoo.network("resnet")).train() for _ in range(2))
    check_same(one, other, zoo.NETWORKS["resnet"].inputs(4), "bf16")


def kept(network: nn.Module, forward: Forward, inputs: Nest) -> int:
    """Values that are kept for the gradient, weights aside: by autograd, and by blocks."""
    own = {p.data_ptr() for p in network.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            found[tensor.data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(forward(network, inputs))
    loss.backward()  # type: ignore[no-untyped-call]
    return sum(found.values())


@pytest.mark.parametrize("kind", ["resnet", "vision_transformer", "masked_encoder", "lstm"])
@pytest.mark.parametrize("quantized", [False, True])
def test_less_is_kept(kind: str, quantized: bool) -> None:
    network = copy_of(zoo.network(kind)).train()
    if quantized:
        folded = fold_batch_norm(zoo.captured(kind))
        network = insert_quantizers(folded, zoo.uniform(folded, 8, 8)).train()
    inputs = zoo.NETWORKS[kind].inputs(4)
    assert kept(network, recomputing(network), inputs) < 0.6 * kept(network, call, inputs)


class Shifted(nn.Module):
    """Overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.add_(1))  # type: ignore[no-any-return]


def test_what_overwrites_its_input_is_refused_not_computed_wrongly() -> None:
    network = zoo.Net(lambda m, x: m.b(m.a(x)), a=nn.Linear(3, 3), b=Shifted())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        recomputing(network)(network, torch.randn(2, 3)).sum().backward()


def test_activations_in_place_go_with_the_layer_before() -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Linear(3, 3), nn.Hardswish(inplace=True), nn.Dropout(0.5, inplace=True)]
        return nn.Sequential(*layers, nn.Linear(3, 2))

    check_same(network(), network(), torch.randn(4, 3))


def test_other_modules_and_passes_without_gradients_are_run_as_they_are() -> None:
    network, other = nn.Linear(3, 3), nn.Linear(3, 3)
    forward, x = recomputing(network), torch.randn(2, 3)
    assert torch.equal(forward(other, x), other(x))
    with torch.no_grad():
        assert torch.equal(forward(network, x), network(x))
