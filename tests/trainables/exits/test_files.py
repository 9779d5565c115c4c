"""Both forms of networks that inputs may leave early: raysearch's families', and one of a user's own."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exiting_network import Exiting
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.backends import get
from raysearch.backends.cascade import Cascade
from raysearch.networks.capture import capture
from raysearch.networks.groups import quantizable_layers
from raysearch.search_spaces.architectures import decode_architecture
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.exits.agreement import check_exits
from raysearch.trainables.exits.evaluation import Leaving
from raysearch.trainables.exits.files import EARLY, LATE, ONE, Cut, cut_network, write_exit_files
from raysearch.trainables.exits.rule import ALWAYS, NEVER, ExitRule, confidence
from raysearch.trainables.export.differences import ExportDisagreement
from raysearch.trainables.models.ready import build_network
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers

IMAGES = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
EXAMPLES = TensorDataset(IMAGES, torch.arange(24) % 10)
RESNET = {
    "stages": 2,
    "stem": {"width": 8},
    "stage1": {"depth": 1, "width": 8},
    "stage2": {"depth": 1, "width": 16},
    "exits": "after_stage_1",
}
MOBILENET = {**RESNET, "family": "mobilenet", "stage1": {"depth": 1, "width": 8, "squeeze": True}}


def deployed(network: nn.Module, weights: int, activations: int, first: int = 0) -> torch.fx.GraphModule:
    """Captured, folded and quantised; ``first`` are the bits of the layers before the exit."""
    torch.manual_seed(0)
    folded = fold_batch_norm(capture(network.eval(), IMAGES[:2]))
    if weights == 32:
        return folded
    layers = quantizable_layers(network, IMAGES[:2])
    bits = [dict.fromkeys(layers, each) for each in (weights, activations)]
    if first:
        bits = [{**each, **dict.fromkeys(layers[:2], first)} for each in bits]
    quantized = insert_quantizers(folded, BitWidthPlan(*bits), (), get("onnxruntime-cpu").weight_bits())
    calibrate(quantized, [IMAGES])
    return quantized.eval()


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "own":
        return Exiting()
    return build_network(decode_architecture({"resnet": RESNET, "mobilenet": MOBILENET}[kind]), (1, 8, 8), 10)


def written(module: torch.fx.GraphModule, folder: Path) -> tuple[Cut, ExitRule]:
    """Files by a rule by which about half of the images leave."""
    with torch.no_grad():
        sure = confidence(module(IMAGES).early, 0.8).sort().values
    rule = ExitRule(0.8, float(sure[11] + sure[12]) / 2, 0.5)
    cut = cut_network(module)
    write_exit_files(cut, folder, rule)
    return cut, rule


CASES = [
    ("resnet", 32, 32),
    ("resnet", 8, 8),
    ("resnet", 4, 4),
    ("mobilenet", 8, 8),
    ("own", 32, 32),
    ("own", 8, 8),
]


@pytest.mark.parametrize(("kind", "weights", "activations"), CASES)
def test_both_forms_give_what_the_network_gives(
    kind: str, weights: int, activations: int, tmp_path: Path
) -> None:
    module = deployed(network(kind), weights, activations)
    _, rule = written(module, tmp_path)
    agreement = check_exits(module, rule, tmp_path, get("onnxruntime-cpu"), EXAMPLES)
    assert agreement.error < 1e-4
    with torch.no_grad():
        due = Leaving(module, rule)(IMAGES)
    same = agreement.predicted[0][0].argmax(1) == due.argmax(1)
    assert same.float().mean() > 0.9  # values between two steps are rounded either way


@pytest.mark.parametrize(("kind", "weights", "activations"), CASES)
def test_alone_or_in_a_batch_an_input_is_given_the_same(
    kind: str, weights: int, activations: int, tmp_path: Path
) -> None:
    written(deployed(network(kind), weights, activations), tmp_path)
    target = get("onnxruntime-cpu")
    forms = (target.load(tmp_path / ONE), Cascade(target, tmp_path / EARLY, tmp_path / LATE))
    whole = [form({"input": IMAGES.numpy()})[0] for form in forms]
    np.testing.assert_allclose(whole[0], whole[1], atol=1e-5)
    for form in forms:
        each = [form({"input": IMAGES[i : i + 1].numpy()})[0] for i in range(24)]
        np.testing.assert_allclose(np.concatenate(each), whole[0], atol=1e-5)


def test_it_is_cut_at_the_tensor_in_integers_and_fused_on_both_sides(tmp_path: Path) -> None:
    cut, _ = written(deployed(network("resnet"), 8, 8), tmp_path)
    (between,) = cut.between
    assert between.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(tmp_path / ONE), options)
    graph = onnx.load(str(tmp_path / "optimized.onnx")).graph
    branch = next(n for n in graph.node if n.op_type == "If").attribute
    rest = next(a.g for a in branch if a.name == "else_branch")
    first, behind = (collections.Counter(n.op_type for n in each.node) for each in (graph, rest))
    assert first["QLinearConv"] == 4
    assert behind["QLinearConv"] == 3
    assert not first["Conv"] + behind["Conv"] + behind["QuantizeLinear"]


def test_bits_that_change_at_the_exit_are_cut_behind_their_quantiser(tmp_path: Path) -> None:
    module = deployed(network("own"), 8, 8, first=32)
    cut, rule = written(module, tmp_path)
    assert [v.type.tensor_type.elem_type for v in cut.between] == [onnx.TensorProto.UINT8]
    check_exits(module, rule, tmp_path, get("onnxruntime-cpu"), EXAMPLES)


def test_a_rule_decides_who_leaves(tmp_path: Path) -> None:
    module = deployed(network("own"), 8, 8)
    cut = cut_network(module)
    target, given = get("onnxruntime-cpu"), {"input": IMAGES.numpy()}
    onnx.save(cut.whole, str(tmp_path / "whole.onnx"))
    early, last = target.load(tmp_path / "whole.onnx")(given)
    for rule, due in ((ALWAYS, early), (NEVER, last)):
        write_exit_files(cut, tmp_path, rule)
        np.testing.assert_allclose(target.load(tmp_path / ONE)(given)[0], due, atol=1e-6)
        leaves = target.load(tmp_path / EARLY)(given)[1]
        assert leaves.all() if rule is ALWAYS else not leaves.any()


def test_files_of_another_rule_are_refused(tmp_path: Path) -> None:
    module = deployed(network("resnet"), 8, 8)
    written(module, tmp_path)
    with pytest.raises(ExportDisagreement, match="the one file of the early exit"):
        check_exits(module, NEVER, tmp_path, get("onnxruntime-cpu"), EXAMPLES)


def test_a_late_file_of_another_network_is_refused(tmp_path: Path) -> None:
    module = deployed(network("resnet"), 8, 8)
    _, rule = written(module, tmp_path)
    late = onnx.load(str(tmp_path / LATE))
    bias = next(t for t in late.graph.initializer if "head.bias" in t.name and t.dims)
    changed = onnx.numpy_helper.to_array(bias) + 40
    bias.CopyFrom(onnx.numpy_helper.from_array(changed.astype(np.int32), bias.name))
    onnx.save(late, str(tmp_path / LATE))
    with pytest.raises(ExportDisagreement, match="the two files of the early exit"):
        check_exits(module, rule, tmp_path, get("onnxruntime-cpu"), EXAMPLES)


def test_openvino_gives_the_same(tmp_path: Path) -> None:
    target = get("openvino-cpu")
    if target.unavailable():
        pytest.skip("openvino is not installed")
    module = deployed(network("resnet"), 8, 8)
    _, rule = written(module, tmp_path)
    found = check_exits(module, rule, tmp_path, target, EXAMPLES)
    assert found.top1 is not None
    assert found.top1 > 0.9
