from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from litert_files import Write, deployed
from torch import Tensor, nn
from zoo import Net

from raysearch.backends import tflite
from raysearch.backends.runtimes.litert import LiteRtCpu, inputs_of, interpreter
from raysearch.basics.failures import UserError
from raysearch.networks import nests
from raysearch.networks.capture import capture
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.export import export_litert
from raysearch.trainables.export.feeds import function_of

pytest.importorskip("litert_torch", reason="litert-torch is not installed")


def types(path: Path) -> set[str]:
    """The types of what a file's operators give."""
    found = interpreter(path, "test", "builtin")
    given = {d["index"]: d["dtype"].__name__ for d in found.get_tensor_details()}
    return {given[index] for op in found._get_ops_details() for index in op["outputs"]}


def apart(path: Path, module: nn.Module, inputs: nests.Nest) -> float:
    """The largest difference of what is deployed, relative to each output's largest value."""
    wanted = outputs_of(module, inputs)
    given = function_of(LiteRtCpu().load(path), wanted)(inputs)
    pairs = zip(nests.tensors(wanted), nests.tensors(given), strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def test_a_network_in_eight_bits_is_integers_from_end_to_end(written: Write) -> None:
    file = written("resnet")
    assert types(file.path) == {"int8"}
    assert {op.name for op in tflite.operators(file.path)} >= {"CONV_2D", "ADD", "FULLY_CONNECTED"}
    assert apart(file.path, file.module, file.inputs(5)) < 0.02
    known = interpreter(file.path, "test")
    assert [(name, port.dtype) for name, port in inputs_of(known).items()] == [("input", "int8")]
    assert {op.layer for op in tflite.operators(file.path)} >= {"2.body.0.2", "3.skip.0"}


def test_the_file_takes_its_batch_and_users_take_any(written: Write) -> None:
    file = written("linear", batch=3)
    known = interpreter(file.path, "test")
    assert [port.shape[0] for port in inputs_of(known).values()] == [3]
    for n in (1, 3, 5):
        assert apart(file.path, file.module, file.inputs(n)) < 0.02


def test_floats_and_float16_are_written_too(written: Write) -> None:
    for bits in (32, 16):
        file = written("linear", bits, bits)
        assert "int8" not in types(file.path)
        assert apart(file.path, file.module, file.inputs(5)) < 1e-3


def test_integers_go_in_and_nests_come_out(written: Write) -> None:
    text, outputs = written("text"), written("dict_output")
    assert apart(text.path, text.module, text.inputs(3)) < 0.02
    assert apart(outputs.path, outputs.module, outputs.inputs(3)) < 0.02


def test_an_axis_that_varies_is_refused(tmp_path: Path) -> None:
    x = torch.randn(2, 7, 4)
    model = Net(lambda m, x: m.head(x).mean(1), head=nn.Linear(4, 3)).eval()
    module = capture(model, x, {"input": {1: "length"}})
    with pytest.raises(UserError, match=re.escape("input's axis 1 (length) varies, and a .tflite file")):
        export_litert(module, tmp_path / "model.tflite")


def test_an_operator_without_a_form_is_named_with_its_layer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"layer '3': operator adaptive_max_pool2d has no LiteRT form"):
        export_litert(deployed("max_pools", (8, 8)), tmp_path / "model.tflite")


def test_an_operator_that_the_converter_leaves_undone_is_refused(tmp_path: Path) -> None:
    def run(m: Net, x: Tensor) -> Tensor:
        return m.head(x.sort(-1)[0])  # type: ignore[no-any-return,operator]

    module = capture(Net(run, head=nn.Linear(4, 3)).eval(), torch.randn(2, 4))
    with pytest.raises(UserError, match="operator STABLEHLO_SORT has no LiteRT form"):
        export_litert(module, tmp_path / "model.tflite")
    assert not (tmp_path / "model.tflite").exists()


def test_an_operator_of_the_converters_language_that_litert_runs_is_taken(written: Write) -> None:
    file = written("conv3d")
    assert any(op.name.startswith("STABLEHLO") for op in tflite.operators(file.path))
    assert apart(file.path, file.module, file.inputs(3)) < 0.02


def test_values_that_are_all_zero_do_not_break_the_file(tmp_path: Path) -> None:
    """Behind a dead ReLU a step would be next to nothing, which XNNPACK does not survive."""
    module = deployed("squeeze_excitation", (8, 8))
    for name, parameter in module.named_parameters():
        if name.startswith("quantize_relu"):
            parameter.data.fill_(1e-12)
    export_litert(module, tmp_path / "model.tflite")
    LiteRtCpu().load(tmp_path / "model.tflite")
