"""The registry of targets, and what it costs to import it."""

import subprocess
import sys

import pytest

from raysearch import backends


def test_every_known_target_has_a_backend_of_that_name():
    for name in backends.names():
        backend = backends.get(name)
        assert backend.name == name
        if reason := backend.unavailable():
            assert "pip install" in reason  # an optional package
            continue
        assert backend.version()[0].isdigit()
        assert backend.device()


def test_unknown_target_names_the_nearest_and_the_known():
    with pytest.raises(ValueError, match=r"'onnxruntime' is unknown.*'onnxruntime-cpu'.*torch-cpu"):
        backends.get("onnxruntime")


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
