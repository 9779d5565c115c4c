"""What .tflite files say without being run."""

from __future__ import annotations

import pytest

from raysearch.backends import tflite
from raysearch.backends.base import MeasurementError
from raysearch.backends.structure import structure_key, weights_mb

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")


def test_operators_have_their_layers(export):
    found = [(op.name, op.layer) for op in tflite.operators(export(8, suffix=".tflite"))]
    # Of one channel, a convolution is one of each channel by itself; it applies the ReLU of module 1.
    assert {("DEPTHWISE_CONV_2D", "1"), ("CONV_2D", "3"), ("MAX_POOL_2D", "4")} <= set(found)
    assert found[-1] == ("FULLY_CONNECTED", "")  # whose tensor is the output


def test_the_key_ignores_weights_and_steps(export):
    assert structure_key(export(8, 0, ".tflite")) == structure_key(export(8, 1, ".tflite"))


def test_the_key_sees_widths_and_types(export, written):
    keys = {structure_key(export(width, 0, ".tflite")) for width in (8, 16)}
    keys |= {structure_key(written("linear", bits, bits).path) for bits in (8, 32)}
    keys.add(structure_key(written("linear", batch=3).path))
    assert len(keys) == 5


def test_weights_weigh_what_they_are_stored_in(export, written):
    width = 8
    counted = 9 * width + 9 * width * (width // 2) + 10 * 16 * width + 4 * (2 * width + 10)
    assert weights_mb(export(width, suffix=".tflite")) == pytest.approx(counted / 1e6)
    assert weights_mb(written("linear", 32, 32).path) > 2.5 * weights_mb(written("linear").path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    for read in (tflite.operators, structure_key, weights_mb):
        with pytest.raises(MeasurementError, match=r"broken\.tflite is no \.tflite file"):
            read(path)
