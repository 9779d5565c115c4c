"""Networks of every ready family: all that Tune draws is built, captured, pruned, learns and is deployed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from families import PLANS, SHAPES, SPACES, draws, made
from torch import Tensor, nn

from benchmarks.signals import signal_task
from raysearch import tasks
from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.basics.failures import UserError
from raysearch.basics.parts import is_heads
from raysearch.networks.attention.heads import attentions
from raysearch.networks.capture import capture
from raysearch.networks.groups import quantizable_layers
from raysearch.search_spaces import BitWidthPlan, PruningPlan, kept_channels
from raysearch.search_spaces.architectures import decode_architecture
from raysearch.search_spaces.keys import part_of
from raysearch.search_spaces.pruning.channel_pruning import multiple_of
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.agreement import onnx_error
from raysearch.trainables.inheritance import inherit
from raysearch.trainables.models.ready import build_network
from raysearch.trainables.pruning import prune, prune_like
from raysearch.trainables.pruning.removal import group_widths
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers
from raysearch.trainables.task import Task

DRAWS, CAPTURED, PRUNED = 20, 2, 2
# What these small networks reach in so many epochs, less a margin for another order of sums.
LEARNED = {"mobilenet": (4, 0.92), "vit": (6, 0.93), "conv1d": (3, 0.95), "mlp": (5, 0.93)}


@pytest.mark.parametrize("family", SPACES)
def test_every_draw_builds_and_is_captured(family: str) -> None:
    for number, config in enumerate(draws(family, DRAWS)):
        plan = decode_architecture(config)
        model, x = made(family, plan)
        wanted = model(x)
        assert wanted.shape == (2, 10)
        if number >= CAPTURED:
            continue
        torch.testing.assert_close(capture(model, x)(x), wanted)
        children = dict(model.named_children())
        assert tuple(name for name in children if name in plan.known_parts()) == plan.parts()
        assert {layer.split(".")[0] for layer in quantizable_layers(model, x)} == set(plan.parts())


@pytest.mark.parametrize("family", SPACES)
def test_widths_are_those_of_the_groups_and_each_part_has_a_ratio_of_its_own(family: str) -> None:
    for config in draws(family, PRUNED):
        plan = decode_architecture(config)
        model, x = made(family, plan)
        groups = group_widths(model, x)
        parts = plan.pruned_parts()
        found = {(part_of(root, parts), n) for root, n in groups.items() if part_of(root, parts)}
        assert found == {(part_of(name, parts), n) for name, n in plan.widths().items()}
        ratios = {part: 0.3 + 0.1 * i for i, part in enumerate(p for p in plan.parts() if p in parts)}
        history = prune(model, x, PruningPlan(ratios, multiple=8))
        shares = {root: ratios.get(root.split(".")[0], 0) for root in groups}
        left = {r: kept_channels(n, shares[r], multiple_of(r, 8)) for r, n in groups.items()}
        heads = attentions(model, x)
        for root, kept in left.items():
            if is_heads(root):
                assert kept == 1 or heads[root].count == kept
            else:
                layer = model.get_submodule(root)
                assert kept == (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)
        again = prune_like(made(family, plan)[0], x, json.loads(json.dumps(history)))
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("family", SPACES)
def test_other_architectures_of_a_family_inherit(family: str) -> None:
    first, second = (decode_architecture(config) for config in draws(family, 2))
    parent, child = made(family, first)[0], made(family, second)[0]
    assert inherit(made(family, first)[0], parent.state_dict()).whole
    assert 0 < inherit(child, parent.state_dict()).share < 1
    assert child(torch.randn(2, *SHAPES[family])).isfinite().all()


def task_of(family: str) -> Task:
    return signal_task() if family == "conv1d" else tasks.digits()


def learned(model: nn.Module, task: Task, epochs: int) -> nn.Module:
    """The model, trained with AdamW and a falling learning rate."""
    x, y = task.train[:]  # type: ignore[index]
    steps = epochs * -(-len(x) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(32):
            F.cross_entropy(model.train()(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return model.eval()


def accuracy(module: nn.Module, examples: tuple[Tensor, Tensor]) -> float:
    x, y = examples
    with torch.no_grad():
        return float((module(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize("family", PLANS)
def test_it_learns_is_quantised_and_its_file_computes_the_same(family: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task, (epochs, wanted) = task_of(family), LEARNED[family]
    plan = decode_architecture(PLANS[family])
    model = learned(task.build(plan), task, epochs)
    x, y = task.validation[:]  # type: ignore[index]
    found = accuracy(model, (x, y))
    assert found >= wanted
    names = plan.parts()
    bits = BitWidthPlan(dict.fromkeys(names, 8), dict.fromkeys(names, 8))
    folded = fold_batch_norm(capture(model, x[:2]))
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-4)
    module = insert_quantizers(folded, bits, weight_bits=OnnxRuntimeCpu().weight_bits())
    calibrate(module, [task.train[:256][0]])  # type: ignore[index]
    assert accuracy(module, (x, y)) >= found - 0.03
    export_onnx(module, tmp_path / "model.onnx")
    assert onnx_error(module, tmp_path / "model.onnx", x[:16])[0] <= 1e-4


@pytest.mark.parametrize(
    ("family", "shape", "message"),
    [
        (
            "mobilenet",
            (2, 64),
            r"mobilenet takes inputs of shape \(channels, height, width\).* shape \(2, 64\)",
        ),
        ("vit", (64,), "vit takes inputs of shape"),
        ("resnet", (2, 64), "resnet takes inputs of shape"),
        ("conv1d", (1, 8, 8), r"conv1d takes inputs of shape \(channels, length\)"),
        ("mlp", (0,), "0 input channels"),
    ],
)
def test_inputs_of_another_shape_are_refused(family: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_network(decode_architecture(draws(family, 1)[0]), shape, 10)


@pytest.mark.parametrize("side", [1, 7, 8, 9, 15])
def test_patches_cover_the_whole_image(side: int) -> None:
    for patch in (1, 2, 4, 7, 16):
        plan = decode_architecture({**PLANS["vit"], "patch": patch})
        model = build_network(plan, (1, side, side + 1), 10)
        x = torch.zeros(1, 1, side, side + 1, requires_grad=True)
        rows, columns = -(-side // patch), -(-(side + 1) // patch)
        assert model.patches(x).shape == (1, rows * columns, plan.embedding)
        model.patches(x).sum().backward()
        assert (x.grad != 0).all(), "every pixel is read"
