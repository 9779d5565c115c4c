"""Devices on real nodes of Ray, that come and go."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raysearch import backends


@pytest.mark.slow
@pytest.mark.cluster
def test_a_measurement_moves_to_another_device_and_fails_where_none_is_left(export, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for width in (4, 8):
        shutil.copy(export(width), models)
    script, answer = Path(__file__).with_name("two_nodes.py"), tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, str(script), str(models), str(answer)], capture_output=True, text=True, timeout=240
    )
    assert answer.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(answer.read_text())
    assert found["unavailable"] is None
    assert found["missing"].startswith("no node of the cluster has the resource 'jetson'")
    assert len(found["one is lost"]) == 8
    assert all(isinstance(ratio, float) for ratio in found["one is lost"])
    (reason,) = found["none is left"]
    assert reason.startswith("DeviceLost: target 'desk': no node of the cluster has the resource")
    assert isinstance(found["another comes"][0], float)
    path = sorted(models.glob("*.onnx"))[0]
    local = backends.get("onnxruntime-cpu").load(path)({"input": np.ones((3, 1, 8, 8), np.float32)})
    np.testing.assert_allclose(found["outputs"], local[0], atol=1e-6)
