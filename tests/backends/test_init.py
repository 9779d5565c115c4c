"""The registry of targets, and what it costs to import it."""

import json
import subprocess
import sys

import pytest

from raysearch import backends


def test_every_known_target_has_a_backend_of_that_name():
    for name in backends.names():
        backend = backends.get(name)
        assert (backend.name, backend.runtime) == (name, name)
        if backend.unavailable() is None:
            assert backend.version()[0].isdigit()
            assert backend.device()
    assert backends.get("onnxruntime-cpu").unavailable() is None


def test_unknown_target_names_the_nearest_and_the_known():
    with pytest.raises(ValueError, match=r"'onnxruntime' is unknown.*'onnxruntime-cpu'.*torch-cpu"):
        backends.get("onnxruntime")


@pytest.mark.parametrize(
    "spec",
    ["torch-cpu", {"name": "two", "runtime": "onnxruntime-cpu", "threads": 2}, {"runtime": "openvino-cpu"}],
)
def test_a_backend_is_described_as_it_was_asked_for(spec):
    backend = backends.get(spec)
    assert backends.get(json.loads(json.dumps(backends.spec_of(backend)))) == backend


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "x", "runtime": "onnxruntime-cpu", "thread": 2}, "'thread': did you mean 'threads'"),
        ({"name": "x", "runtime": "onnxruntime-cpu", "batch": True}, "batch is True, give a whole number"),
        ({"name": "a/b", "runtime": "torch-cpu"}, "name is 'a/b': give letters"),
        ({"name": 3}, "its name is 3, give a text"),
        (5, "target 5 is none: give a name"),
        ({"runtime": "torch-cpu", "dtype": ["f32"]}, r"dtype is \['f32'\], give f32"),
        ({"runtime": "openvino-cpu", "dtype": "f8"}, "dtype is 'f8', give f32"),
    ],
)
def test_a_mistake_in_a_description_is_one_sentence(spec, message):
    with pytest.raises(ValueError, match=message):
        backends.get(spec)


def test_a_target_of_another_package_is_an_entry_point(monkeypatch, tmp_path):
    (tmp_path / "board.py").write_text(
        "from dataclasses import dataclass\n"
        "from raysearch.backends.runtimes.torch import Torch\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Board(Torch):\n"
        "    volts: int = 5\n"
    )
    info = tmp_path / "board-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: board\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[raysearch.targets]\nmy-board = board:Board\n")
    monkeypatch.syspath_prepend(tmp_path)
    backends._others.cache_clear()
    try:
        assert "my-board" in backends.names()
        made = backends.get({"name": "desk", "runtime": "my-board", "volts": 3})
        assert (made.name, made.volts) == ("desk", 3)
        with pytest.raises(ValueError, match="did you mean 'volts'"):
            backends.get({"runtime": "my-board", "volt": 3})
    finally:
        backends._others.cache_clear()


@pytest.mark.parametrize(
    ("asked", "loaded"), [("b.names()", []), ("b.get('onnxruntime-cpu').unavailable()", ["onnxruntime"])]
)
def test_only_the_runtime_that_is_asked_for_is_loaded(asked, loaded):
    code = (
        f"import sys, raysearch.backends as b; {asked};"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(loaded)


def test_a_runtime_that_is_missing_or_broken_is_named_with_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libonnx.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    reason = backends.get("onnxruntime-cpu").unavailable()
    assert "libonnx.so is missing" in reason
    assert "pip install --force-reinstall onnxruntime" in reason
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in backends.get("onnxruntime-cpu").unavailable()
