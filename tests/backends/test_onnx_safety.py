"""Hostile, broken and honest ONNX files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from raysearch.backends.onnx_safety import check_file
from raysearch.basics.failures import MissingFile, UserError

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def model(weight: TensorProto | None = None, *, inputs=("batch", 2), nodes=None, **graph) -> onnx.ModelProto:
    """y = x @ w."""
    weight = weight or numpy_helper.from_array(WEIGHT, "w")
    made = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
        **graph,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def external(location: str, **said: int) -> TensorProto:
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **said}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


@pytest.fixture
def save(tmp_path):
    def write(made: onnx.ModelProto) -> Path:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        path = folder / "net.onnx"
        path.write_bytes(made.SerializeToString())
        return path

    return write


def test_honest_files_pass(export, save):
    check_file(export())
    check_file(save(model()))


def test_every_type_that_onnx_can_hold_passes(save):
    for name, kind in TensorProto.DataType.items():
        if name in ("UNDEFINED", "FLOAT6E2M3", "FLOAT6E3M2"):  # the library makes none of the latter yet
            continue
        for raw in (False, True):
            if raw and name == "STRING":
                continue
            values = [b"a"] * 6 if name == "STRING" else np.ones(6, helper.tensor_dtype_to_np_dtype(kind))
            tensor = (
                numpy_helper.from_array(values, "w") if raw else helper.make_tensor("w", kind, [2, 3], values)
            )
            check_file(save(model(tensor)))


def test_external_data_in_the_folder_passes(save, tmp_path):
    path = save(model(external("weights.bin", offset=8, length=24)))
    (path.parent / "weights.bin").write_bytes(bytes(32))
    check_file(path)
    (path.parent / "part").mkdir()
    (path.parent / "part" / "w.bin").symlink_to(path.parent / "weights.bin")
    check_file(save(model(external("part/w.bin"))))


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret",
        "part/../../secret",
        "..",
        "C:\\secret",
        "..\\secret",
        "\\\\host\\secret",
        "a\0b",
    ],
)
def test_external_data_outside_of_the_folder_is_refused(save, tmp_path, location):
    (tmp_path / "secret").write_bytes(bytes(100))
    with pytest.raises(UserError, match=r"tensor 'w' of net\.onnx has external data at .* outside"):
        check_file(save(model(external(location))))


@pytest.mark.parametrize("link", ["w.bin", "part"])
def test_symbolic_links_that_lead_out_are_refused(save, tmp_path, link):
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "w.bin").write_bytes(bytes(24))
    path = save(model(external("w.bin" if link == "w.bin" else "part/w.bin")))
    (path.parent / link).symlink_to(tmp_path / "away" / "w.bin" if link == "w.bin" else tmp_path / "away")
    with pytest.raises(UserError, match="outside of the model's folder"):
        check_file(path)


def test_external_data_that_is_not_there_no_file_or_too_short_is_refused(save):
    for location in (
        "w.bin",
        "",
        "*/_ORT_MEM_ADDR_/*",
    ):  # the last is an address in ONNX Runtime's own memory
        with pytest.raises(UserError, match="has no such file"):
            check_file(save(model(external(location))))
    path = save(model(external("pipe")))
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(UserError, match="has no such file"):
        check_file(path)
    (path.parent / "w.bin").write_bytes(bytes(24))
    for said in ({"length": 20}, {"offset": 4}, {"offset": -8, "length": 24}, {"length": 10**12}):
        with pytest.raises(UserError, match=r"declares 24 bytes, and its external data 'w.bin' holds 24"):
            check_file(save(model(external("w.bin", **said))))
    with pytest.raises(UserError, match="are no numbers"):
        check_file(save(model(external("w.bin", offset="many"))))


def test_external_data_is_found_wherever_a_tensor_may_be(save):
    away = external("/etc/passwd")
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=away)], "branch", [], [])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    function = helper.make_function(
        "own", "F", ["x"], ["y"], [helper.make_node("Constant", [], ["y"], value=away)], []
    )
    in_function = model()
    in_function.functions.append(function)
    sparse = helper.make_sparse_tensor(away, numpy_helper.from_array(np.zeros(6, np.int64), "i"), [100])
    in_training = model()
    in_training.training_info.add().algorithm.initializer.append(away)
    for made in (model(nodes=[branch]), in_function, model(sparse_initializer=[sparse]), in_training):
        with pytest.raises(UserError, match="'/etc/passwd', outside"):
            check_file(save(made))


@pytest.mark.parametrize("dims", [[2, 4], [1 << 40], [1 << 62, 1 << 62, 1 << 62]])
@pytest.mark.parametrize("raw", [True, False])
def test_tensors_larger_than_what_the_file_holds_are_refused(save, dims, raw):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    if raw:
        tensor.raw_data = bytes(24)
    else:
        tensor.float_data.extend([0.0] * 6)
    with pytest.raises(UserError, match=r"tensor 'w' of net.onnx declares \d+ bytes.*holds 24 of them"):
        check_file(save(model(tensor)))


def test_impossible_shapes_and_types_are_refused(save):
    with pytest.raises(UserError, match=r"shape \[-1, 3\]: no dimension can be negative"):
        check_file(save(model(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-1, 3]))))
    with pytest.raises(UserError, match="of type 99, which ONNX does not have"):
        check_file(save(model(TensorProto(name="w", data_type=99, dims=[1]))))


def test_what_is_declared_and_not_held_has_a_limit(save):
    with pytest.raises(UserError, match=r"input 'x' of net.onnx declares \d+ bytes: more than 2 GB"):
        check_file(save(model(inputs=["batch", 1 << 20, 1 << 20])))
    values, places = numpy_helper.from_array(np.ones(1, np.float32), "s"), np.zeros(1, np.int64)
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(places, "i"), [1 << 40])
    with pytest.raises(UserError, match=r"sparse tensor 's' of net.onnx declares \d+ bytes"):
        check_file(save(model(sparse_initializer=[sparse])))


def test_other_files_are_refused(tmp_path):
    for data in (b"", b"not a model", b"\x08\x08", bytes(range(256)), b"PK\x03\x04 a zip"):
        path = tmp_path / "net.onnx"
        path.write_bytes(data)
        with pytest.raises(UserError, match="is no ONNX file, or is cut off"):
            check_file(path)
    with pytest.raises(MissingFile, match="does not exist"):
        check_file(tmp_path / "none.onnx")
    with pytest.raises(UserError, match="is a folder"):
        check_file(tmp_path)


def test_a_file_beyond_what_protobuf_reads_is_refused_unread(tmp_path):
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # a hole: it takes no room
    with pytest.raises(UserError, match="larger than 2 GB"):
        check_file(path)


@settings(deadline=None, max_examples=200)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_refused(tmp_path_factory, share):
    data = model().SerializeToString()
    path = tmp_path_factory.mktemp("cut", numbered=True) / "net.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match="is no ONNX file, or is cut off"):
        check_file(path)
