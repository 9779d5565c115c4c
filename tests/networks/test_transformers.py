"""Hugging Face's classifiers, built from a config: no weights are fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, fx, nn

from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.networks.capture import capture
from raysearch.networks.operators import layer_name, layer_of
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.agreement import onnx_error
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")

Inputs = dict[str, Tensor]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def _bert() -> tuple[nn.Module, Inputs]:
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, num_labels=3, **SIZES)
    lengths = torch.randint(3, 13, (8, 1))
    ids, mask = torch.randint(0, 50, (8, 12)), (torch.arange(12) < lengths).long()
    return transformers.BertForSequenceClassification(config), {"input_ids": ids, "attention_mask": mask}


def _vit() -> tuple[nn.Module, Inputs]:
    config = transformers.ViTConfig(image_size=16, patch_size=4, num_labels=3, **SIZES)
    return transformers.ViTForImageClassification(config), {"pixel_values": torch.randn(8, 3, 16, 16)}


@pytest.fixture(params=[_bert, _vit], ids=["bert", "vit"])
def given(request: pytest.FixtureRequest) -> tuple[nn.Module, Inputs]:
    torch.manual_seed(0)
    make: Callable[[], tuple[nn.Module, Inputs]] = request.param
    model, inputs = make()
    with torch.no_grad():  # larger logits than those of weights at their start
        model.get_submodule("classifier").weight.normal_()  # type: ignore[operator, union-attr]
    return model.eval(), inputs


def _quantized(captured: fx.GraphModule, inputs: Inputs) -> fx.GraphModule:
    layers = [(node, layer) for node in captured.graph.nodes if (layer := layer_of(node))]
    bits = {layer_name(node, layer): 8 for node, layer in layers}
    quantized = insert_quantizers(
        captured, BitWidthPlan(bits, bits), weight_bits=OnnxRuntimeCpu().weight_bits()
    )
    calibrate(quantized, [inputs])
    return quantized


def test_a_capture_is_called_by_keywords_and_gives_the_models_own_class(
    given: tuple[nn.Module, Inputs],
) -> None:
    model, inputs = given
    captured = capture(model, {name: tensor[:2] for name, tensor in inputs.items()})
    expected, found = model(**inputs), captured(**inputs)
    assert type(found) is type(expected)
    torch.testing.assert_close(found.logits, expected.logits)


def test_the_file_at_eight_bits_computes_what_the_quantised_network_does(
    given: tuple[nn.Module, Inputs], tmp_path: Path
) -> None:
    model, inputs = given
    quantized = _quantized(fold_batch_norm(capture(model, inputs)), inputs)
    expected, found = model(**inputs).logits, quantized(**inputs).logits
    difference = (found - expected).detach().abs().max()
    assert 0 < float(difference) < 0.05 * float((expected.max() - expected.min()).detach())
    path = tmp_path / "model.onnx"
    export_onnx(quantized, path)
    error, _ = onnx_error(quantized, path, inputs)
    assert error < 1e-5
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [put.name for put in session.get_inputs()] == list(inputs)
    (deployed,) = session.run(["logits"], feed_of({name: t[:3] for name, t in inputs.items()}))
    assert deployed.shape == (3, 3)
