"""Requests that are no input of the network, one by one; and those that are."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.serving.inputs import BadInput, Port, checked, most_bytes, parse

IMAGE = (Port("x", (2, 3), np.dtype(np.float32)),)
COUNTS = (Port("x", (2,), np.dtype(np.uint8)),)
TWO = (Port("a", (2,), np.dtype(np.float32)), Port("b", (1,), np.dtype(np.int64)))
WORDS = (Port("x", (None,), np.dtype(np.int64)),)
JSON, NPY = "application/json", "application/x-npy"
RIGHT = [[1, 2, 3], [4, 5, 6.5]]


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def body(inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize("given", [RIGHT, [RIGHT]])
def test_an_example_may_have_a_batch_axis(given: Any) -> None:
    for feed, label in (
        parse(body(given, label=3), JSON, IMAGE),
        parse(npy(np.array(given, np.float32)), NPY, IMAGE),
    ):
        assert feed["x"].shape == (1, 2, 3)
        assert feed["x"].dtype == np.float32
        assert feed["x"][0].tolist() == RIGHT
        assert label in (3, None)
    assert checked(np.array(given), IMAGE)["x"].shape == (1, 2, 3)


def test_several_inputs_have_names() -> None:
    feed, _ = parse(body({"b": [7], "a": [1, 2]}), f"{JSON}; charset=utf-8", TWO)
    assert {name: array.tolist() for name, array in feed.items()} == {"a": [[1, 2]], "b": [[7]]}
    assert checked({"a": np.zeros(2), "b": np.ones(1, int)}, TWO)["b"].dtype == np.int64


def test_an_axis_may_vary() -> None:
    assert parse(body([1, 2, 3, 4]), JSON, WORDS)[0]["x"].shape == (1, 4)
    with pytest.raises(BadInput):
        parse(body([]), JSON, WORDS)


BAD = {
    "torn": (body(RIGHT)[:-9], JSON, "no JSON"),
    "not JSON": (b"hello", JSON, "no JSON"),
    "not UTF-8": (b"\xff\xfe\xfa", JSON, "no JSON"),
    "empty": (b"", JSON, "no JSON"),
    "no inputs": (b'{"input": []}', JSON, '"inputs"'),
    "a list": (b"[1, 2]", JSON, '"inputs"'),
    "wrong shape": (body([[1, 2], [3, 4]]), JSON, r"shape \(2, 2\): it should be float32 of shape \(2, 3\)"),
    "two examples": (body([RIGHT, RIGHT]), JSON, r"shape \(2, 2, 3\)"),
    "ragged": (body([[1, 2, 3], [4, 5]]), JSON, "several lengths"),
    "deep": (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", JSON, "body|JSON|deep"),
    "words": (body([["a", "b", "c"], ["d", "e", "f"]]), JSON, "no number"),
    "null": (body([[None, 1, 2], [3, 4, 5]]), JSON, "no number"),
    "a mapping inside": (body([[{}, 1, 2], [3, 4, 5]]), JSON, "no number|several"),
    "NaN": (b'{"inputs": [[NaN, 1, 2], [3, 4, 5]]}', JSON, "NaN"),
    "infinite": (b'{"inputs": [[1e999, 1, 2], [3, 4, 5]]}', JSON, "NaN or an infinity"),
    "beyond float32": (b'{"inputs": [[1e300, 1, 2], [3, 4, 5]]}', JSON, "beyond what float32"),
    "a huge integer": (body([[10**400, 1, 2], [3, 4, 5]]), JSON, "no number|no JSON|beyond"),
    "unknown input": (body({"y": RIGHT}), JSON, "names y: the network has x"),
    "huge": (b" " * 100_000, JSON, "at most"),
    "other type": (body(RIGHT), "text/plain", "content-type"),
    "no type": (body(RIGHT), "", "content-type"),
    "npy of another type": (npy(np.zeros((2, 3))), NPY, "holds float64"),
    "npy of another shape": (npy(np.zeros((3, 2), np.float32)), NPY, r"of shape \(3, 2\)"),
    "npy with NaN": (npy(np.full((2, 3), np.nan, np.float32)), NPY, "NaN"),
    "npy in Fortran's order": (npy(np.asfortranarray(np.ones((2, 3), np.float32))), NPY, "C order"),
    "npy cut off": (npy(np.zeros((2, 3), np.float32))[:-1], NPY, "cut off"),
    "npy with more": (npy(np.zeros((2, 3), np.float32)) + b"0", NPY, "too long"),
    "npy of objects": (npy(np.array([[1, None]], dtype=object), allow_pickle=True), NPY, "holds object"),
    "npy of records": (npy(np.zeros((2, 3), [("a", "f4")])), NPY, "plain array"),
    "npy without data": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}"), NPY, "cut off"),
    "npy of a huge shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}"), NPY, "should be"),
    "npy of a negative shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}"), NPY, "should be"),
    "npy with a call in its header": (header("__import__('os').getcwd()"), NPY, "no .npy file"),
    "npy with another header": (header("{'descr': '<f4'}"), NPY, "no .npy file"),
    "a long header": (b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{" * 50, NPY, "no .npy file"),
    "npy with a list as a key": (header("{[]: 1}"), NPY, "no .npy file"),
    **{
        f"npy of {kind!r}": (
            header(f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': (2, 3)}}"), NPY, "the type")
        for kind in ("i4,,", "(2147483648,)f4", "?!")
    },
    "a pickle": (pickle.dumps(np.zeros((2, 3))), NPY, "no .npy file"),
    "short": (b"\x93NU", NPY, "no .npy file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name: str) -> None:
    content, kind, sentence = BAD[name]
    with pytest.raises(BadInput, match=sentence):
        parse(content, kind, IMAGE)


def test_integers_are_kept_to_their_range() -> None:
    assert parse(body([0, 255]), JSON, COUNTS)[0]["x"].tolist() == [[0, 255]]
    for wrong in ([0, 256], [-1, 0], [0.5, 1]):
        with pytest.raises(BadInput, match="uint8 cannot"):
            parse(body(wrong), JSON, COUNTS)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("int64", [2**63 - 1, -(2**63)], [[2**63, 0], [2**63, -1], [2**63, 0.0], [-(2.0**63) - 2048, 0]]),
        ("uint64", [2**64 - 1, 0], [[2**64, 0], [2**64 - 1, 1.0], [-1, 0]]),
        ("bool", [True, 0], [[1.5, 0], [2, 0], [-1, 0]]),
    ],
)
def test_no_number_becomes_another(kind: str, right: list[float], wrong: list[list[float]]) -> None:
    ports = (Port("x", (2,), np.dtype(kind)),)
    assert parse(body(right), JSON, ports)[0]["x"].tolist() == [right]
    for one in wrong:
        with pytest.raises(BadInput):
            parse(body(one), JSON, ports)


def test_a_word_among_numbers_takes_no_memory() -> None:
    """Of a list with one word numpy makes an array of as long words: here 200 KB, 10,000 times."""
    ports = (Port("x", (100, 100), np.dtype(np.float32)),)
    values: list[list[object]] = [[0] * 100 for _ in range(100)]
    values[99][99] = "a" * 50_000
    content = body(values)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match="no number"):
            parse(content, JSON, ports)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_npy_is_for_one_input() -> None:
    with pytest.raises(BadInput, match="inputs a, b: send them as JSON"):
        parse(npy(np.zeros(2, np.float32)), NPY, TWO)


@pytest.mark.parametrize(
    "wrong", [np.zeros(3), np.array(["a"] * 6).reshape(2, 3), {"y": np.zeros((2, 3))}, None]
)
def test_a_program_s_own_input_is_checked_too(wrong: Any) -> None:
    with pytest.raises(BadInput):
        checked(wrong, IMAGE)


@given(st.binary(max_size=300), st.sampled_from([JSON, NPY]))
def test_any_bytes_are_an_example_or_bad(content: bytes, kind: str) -> None:
    try:
        feed, _ = parse(content, kind, IMAGE)
    except BadInput:
        return
    assert feed["x"].shape == (1, 2, 3)


@given(st.data())
def test_damaged_requests_are_an_example_or_bad(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([JSON, NPY]))
    content = bytearray(body(RIGHT) if kind == JSON else npy(np.zeros((2, 3), np.float32)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        feed, _ = parse(bytes(content), kind, IMAGE)
    except BadInput:
        return
    assert np.isfinite(feed["x"]).all()


def test_the_longest_body_holds_the_longest_numbers() -> None:
    numbers = [[-1.2345678901234567e-300] * 3] * 2
    assert len(json.dumps({"inputs": numbers}, indent=1)) < most_bytes(IMAGE) < 10_000
