"""The float parts of an ONNX model in fewer bits: FP16 or BF16 as the types of its tensors.

A strongly typed runtime computes in the types that the file has. Inputs and outputs stay as they were, with a
Cast behind and before them; so do integers, and what an operator has in float32 alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
import onnx.version_converter
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")
_FLOAT = "tensor(float)"
_BF16_SINCE = 22  # ONNX's operators have BF16 from here on; before, convolutions for one have not


def in_precision(model: ModelProto, dtype: str) -> ModelProto:
    """A copy of a model whose float32 tensors between inputs and outputs are of another type.

    Steps of quantisers are rounded too, since Q and DQ have them in the type that they read and give.

    Args:
        model: of one file, without external data.
        dtype: "fp32" changes nothing, "fp16", "bf16".

    Raises:
        ValueError: ONNX cannot follow the model's types, or cannot bring it to a version that has BF16.
    """
    if dtype == "fp32":
        return model
    changed = onnx.shape_inference.infer_shapes(model)
    versions = {o.domain: o.version for o in changed.opset_import}
    if dtype == "bf16" and versions[""] < _BF16_SINCE:
        changed = onnx.version_converter.convert_version(changed, _BF16_SINCE)
        versions[""] = _BF16_SINCE
    _Conversion(_TYPES[dtype], versions).whole(changed.graph)
    onnx.checker.check_model(changed)
    return changed


class _Conversion:
    """One model's conversion to a type, by what each operator's version has in it."""

    def __init__(self, low: int, versions: Mapping[str, int]) -> None:
        self.low, self.versions = low, versions
        self.low_word = helper.tensor_dtype_to_string(low).rpartition(".")[2].lower()

    def whole(self, graph: GraphProto) -> None:
        """Convert the model's graph, with Casts at its inputs and outputs."""
        held = {tensor.name for tensor in graph.initializer}
        inputs = [v.name for v in graph.input if _is_float(v) and v.name not in held]
        outputs = [v.name for v in graph.output if _is_float(v)]
        _rename(graph.node, {name: f"{name}_low" for name in (*inputs, *outputs)})
        ends = [helper.make_node("Cast", [f"{n}_low"], [n], to=TensorProto.FLOAT) for n in outputs]
        starts = [helper.make_node("Cast", [n], [f"{n}_low"], to=self.low) for n in inputs]
        floats = {v.name for v in graph.value_info if _is_float(v)}
        self.inside(graph, floats | {f"{name}_low" for name in (*inputs, *outputs)})
        body = list(graph.node)
        del graph.node[:]
        graph.node.extend([*starts, *body, *ends])

    def inside(self, graph: GraphProto, floats: set[str]) -> None:
        """Convert all that a graph holds and computes; ``floats`` are float32 tensors known from outside."""
        floats = floats | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        floats |= {v.name for v in graph.value_info if _is_float(v)}
        kept = {t.name: TensorProto.FromString(t.SerializeToString()) for t in graph.initializer}
        nodes = list(graph.node)
        for tensor in graph.initializer:
            self.lower(tensor)
        for node in nodes:
            self.attributes(node, floats)
        del graph.node[:]
        for node in nodes:
            graph.node.extend(self.placed(node, floats, kept, graph))
        for value in (*graph.value_info, *graph.output, *graph.input):
            if _is_float(value) and value.name in floats:
                value.type.tensor_type.elem_type = self.low

    def lower(self, tensor: TensorProto) -> None:
        """Round a constant."""
        if tensor.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):  # a mask's lowest float becomes an infinity
                values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(self.low))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    def attributes(self, node: NodeProto, floats: set[str]) -> None:
        """Convert constants, types and graphs that a node has as attributes."""
        for attribute in node.attribute:
            if attribute.HasField("t"):
                self.lower(attribute.t)
            elif attribute.HasField("g"):
                ends = (*attribute.g.input, *attribute.g.output)
                self.inside(attribute.g, floats | {value.name for value in ends if _is_float(value)})
            elif attribute.name in _TYPE_ATTRIBUTES and attribute.i == TensorProto.FLOAT:
                attribute.i = self.low
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                value = helper.get_attribute_value(attribute)
                shape = [len(value)] if attribute.name == "value_floats" else []
                given = value if shape else [value]
                tensor = helper.make_tensor(node.output[0], TensorProto.FLOAT, shape, given)
                self.lower(tensor)
                attribute.CopyFrom(helper.make_attribute("value", tensor))

    def placed(
        self, node: NodeProto, floats: set[str], kept: Mapping[str, TensorProto], graph: GraphProto
    ) -> Iterator[NodeProto]:
        """A node with the Casts that it needs where an input or output of it knows float32 alone."""
        reads, gives = self.only_float(node)
        before, after = [], []
        for place in reads:
            name = node.input[place]
            if name not in floats:
                continue
            node.input[place] = fresh = f"{name}_float_{node.output[0]}_{place}"
            if name in kept:  # a runtime may want it to be a constant
                constant = graph.initializer.add()
                constant.CopyFrom(kept[name])
                constant.name = fresh
            else:
                before.append(helper.make_node("Cast", [name], [fresh], to=TensorProto.FLOAT))
        for place in gives:
            name = node.output[place]
            if name in floats:
                node.output[place] = f"{name}_float"
                after.append(helper.make_node("Cast", [f"{name}_float"], [name], to=self.low))
        yield from (*before, node, *after)

    def only_float(self, node: NodeProto) -> tuple[list[int], list[int]]:
        """The places of inputs and outputs that an operator has in float32 and not in the lower type."""
        schema = onnx.defs.get_schema(node.op_type, self.versions[node.domain], node.domain)
        types = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}

        def places(names: Iterable[str], formal: list[onnx.defs.OpSchema.FormalParameter]) -> list[int]:
            found = []
            for place, name in enumerate(names):
                parameter = formal[min(place, len(formal) - 1)]
                allowed = types.get(parameter.type_str, {parameter.type_str})
                if name and _FLOAT in allowed and f"tensor({self.low_word})" not in allowed:
                    found.append(place)
            return found

        return places(node.input, list(schema.inputs)), places(node.output, list(schema.outputs))


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _rename(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Let nodes, those of their graphs too, read and give tensors under other names."""
    for node in nodes:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g.node, names)
                for value in attribute.g.output:
                    value.name = names.get(value.name, value.name)
