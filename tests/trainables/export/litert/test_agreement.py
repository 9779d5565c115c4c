from __future__ import annotations

import copy

import pytest
import torch
from litert_files import Write
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.backends.runtimes.litert import LiteRtCpu
from raysearch.trainables.export.agreement import check_agreement
from raysearch.trainables.export.differences import ExportDisagreement
from raysearch.trainables.export.litert.agreement import litert_error, litert_steps
from raysearch.trainables.quantization import Quantizer


def quantizers(module: nn.Module) -> int:
    return sum(isinstance(m, Quantizer) and m.integer and m.channels is None for m in module.modules())


@pytest.mark.parametrize("bits", [(8, 8), (0, 0)], ids=["int8", "mixed"])
def test_every_layer_is_compared(written: Write, bits: tuple[int, int]) -> None:
    file = written("resnet", *bits)
    found = litert_steps(file.module, file.path, file.inputs(8))
    assert found.error <= 1e-5
    assert not found.unseen
    assert len(set(found.compared)) >= quantizers(file.module)
    assert 0 < found.ties < 2000


@pytest.mark.parametrize("name", ["text", "dict_output", "attention", "lstm", "densenet"])
def test_networks_of_other_kinds_agree(written: Write, name: str) -> None:
    file = written(name)
    assert litert_error(file.module, file.path, file.inputs(4))[0] <= 1e-4


@pytest.mark.parametrize(("weights", "activations"), [(32, 8), (8, 32), (16, 16)])
def test_parts_in_float_agree(written: Write, weights: int, activations: int) -> None:
    file = written("inverted_residuals", weights, activations)
    assert litert_error(file.module, file.path, file.inputs(4))[0] <= 1e-4


def test_a_batch_of_a_size_that_the_file_does_not_take(written: Write) -> None:
    file = written("linear", batch=3)
    assert litert_error(file.module, file.path, file.inputs(5))[0] <= 1e-5


def test_other_weights_are_found_and_the_place_is_named(written: Write) -> None:
    file = written("resnet")
    other = copy.deepcopy(file.module)
    other.get_parameter("2.body.1.0.weight").data.mul_(1.5)
    with pytest.raises(
        ExportDisagreement, match=r"quantize_conv2d_2_8: the file's integers differ by up to \d"
    ):
        litert_steps(other, file.path, file.inputs(4))


def test_another_step_at_the_output_is_found(written: Write) -> None:
    file = written("resnet")
    other = copy.deepcopy(file.module)
    other.get_parameter("quantize_linear_8.scale").data.mul_(1.1)
    with pytest.raises(ExportDisagreement, match=r"quantize_linear_8: the file's step is 0.\d+, not 0.\d+"):
        litert_steps(other, file.path, file.inputs(4))


def test_the_deployed_file_predicts_what_the_module_does(written: Write) -> None:
    file = written("resnet")
    inputs = file.inputs(64)
    data = TensorDataset(inputs, torch.zeros(64, dtype=torch.long))  # type: ignore[arg-type]
    found = check_agreement(file.module, file.path, LiteRtCpu(), data, samples=8)
    assert found.error <= 1e-5
    assert found.top1 is not None
    assert found.top1 >= 0.95  # an untrained network's classes are close to each other
    ((outputs, _),) = found.predicted
    assert outputs.shape == (64, 4)
