"""What is changed in a file for the NPU leaves what it computes as it was."""

import numpy as np
import onnx
import torch
import zoo
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from raysearch import backends
from raysearch.backends.runtimes.qnn import graph
from raysearch.networks.capture import capture
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.export.files import export_onnx
from raysearch.trainables.quantization import calibrate, fold_batch_norm, insert_quantizers


def test_only_what_no_quantiser_reads_gets_its_weights_in_float(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    inputs = torch.randn(8, 6)
    module = fold_batch_norm(capture(net, inputs))
    module = insert_quantizers(module, zoo.uniform(module, 8, 8), ())
    calibrate(module, [inputs])
    path = tmp_path / "two.onnx"
    export_onnx(module, path)
    model = onnx.load(str(path))
    graph.float_ends(model.graph)
    floats = [numpy_helper.to_array(c) for c in model.graph.initializer if c.name.endswith("_float")]
    assert sorted(array.shape for array in floats) == [(3,), (3, 5)]
    step = np.abs(net[2].weight.detach().numpy()).max(1, keepdims=True) / 127
    (weight,) = [array for array in floats if array.ndim == 2]
    assert (np.abs(weight - net[2].weight.detach().numpy()) <= step).all()
    feed = feed_of(inputs)
    onnx.save(model, str(tmp_path / "floated.onnx"))
    cpu = backends.get("onnxruntime-cpu")
    (before,), (after,) = (cpu.load(p)(feed) for p in (path, tmp_path / "floated.onnx"))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_bytes_that_are_cast_are_taken_as_integers():
    nodes = [
        helper.make_node("Cast", ["cast"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("DequantizeLinear", ["read", "step"], ["b"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", 3]) for name in ("cast", "read")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("a", "b")]
    step = numpy_helper.from_array(np.float32(0.5), "step")
    made = helper.make_graph(nodes, "bytes", inputs, outputs, [step])
    graph.widen_bytes(made)
    assert [graph.numpy_type(value) for value in made.input] == [np.int32, np.uint8]
    assert graph.known_shapes(made, 4) == ((4, 3), (4, 3))


def test_shapes_with_another_axis_that_varies_are_not_known():
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "length", 8])
    made = helper.make_graph([], "varies", [value], [])
    assert graph.known_shapes(made, 1) is None
    model = helper.make_model(made)
    fixed = graph.of_shapes(model, ((2, 5, 8),)).graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_value for axis in fixed] == [2, 5, 8]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
