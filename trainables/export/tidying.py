"""An ONNX file without what its exporter leaves in it: notes, unread nodes, constants that are computed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from raysearch.trainables.export.forms import FLOAT16_WEIGHT
from raysearch.trainables.export.symbols import NAME


def tidied(model: ModelProto) -> ModelProto:
    """The model, changed in place; operators and their order stay."""
    graph = model.graph
    _compute_constants(graph)
    _drop_unread(graph)
    _halve_weights(graph)
    _give_names(graph)
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, model):
        del item.metadata_props[:]
        item.doc_string = ""
    for node in graph.node:
        node.name = ""
    del graph.value_info[:]
    del model.functions[:]
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    return model


def name_axes(model: ModelProto, words: Mapping[str, str]) -> None:
    """Call the axes of inputs and outputs that vary by words, "batch" or "2*length", not by symbols.

    Args:
        model: changed in place.
        words: a word for each symbol; of other symbols the names stay.
    """
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(r"\w+", lambda found: words.get(found[0], found[0]), axis.dim_param)


def _compute_constants(graph: GraphProto) -> None:
    """A constant that is cast to another tensor's type becomes a constant of that type.

    The exporter writes the limits of a ReLU6 so, and a runtime fuses only one whose limits are constants.
    """
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    constants = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type != "CastLike" or node.input[0] not in constants:
            continue
        wanted = types.get(node.input[1], TensorProto.UNDEFINED)
        if wanted == TensorProto.UNDEFINED:
            continue
        value = _value(constants[node.input[0]]).astype(helper.tensor_dtype_to_np_dtype(wanted))
        constant = helper.make_node("Constant", [], list(node.output), value=numpy_helper.from_array(value))
        node.CopyFrom(constant)


def _value(constant: NodeProto) -> np.ndarray:
    """A constant's value."""
    value = helper.get_attribute_value(constant.attribute[0])
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def _drop_unread(graph: GraphProto) -> None:
    """Remove nodes whose outputs nobody reads, from the last one back."""
    read = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if read & set(node.output):
            read |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))


def _halve_weights(graph: GraphProto) -> None:
    """Weights of sixteen bits become float16, with a Cast to float behind each."""
    for tensor in graph.initializer:
        if not tensor.name.endswith(FLOAT16_WEIGHT):
            continue
        half, name = numpy_helper.to_array(tensor).astype(np.float16), tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_constant"))
        graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))


def _give_names(graph: GraphProto) -> None:
    """Tensors get the names that were noted for them, but those that the network itself gives keep theirs."""
    noted = {n.output[0]: p.value for n in graph.node for p in n.metadata_props if p.key == NAME}
    names = {old: new for old, new in noted.items() if old not in {value.name for value in graph.output}}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
