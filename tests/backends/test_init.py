"""The registry of targets, and what it costs to import it."""

import subprocess
import sys

import pytest

from raysearch import backends


def test_every_known_target_has_a_backend_of_that_name():
    for name in backends.names():
        backend = backends.get(name)
        assert backend.name == name
        assert backend.unavailable() is None
        assert backend.version()[0].isdigit()
        assert backend.device()


def test_unknown_target_names_the_nearest_and_the_known():
    with pytest.raises(ValueError, match=r"'onnxruntime' is unknown.*'onnxruntime-cpu'.*torch-cpu"):
        backends.get("onnxruntime")


def test_importing_the_room_loads_no_runtime():
    code = (
        "import sys, raysearch.backends as b; [b.get(n).unavailable() for n in b.names()];"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
