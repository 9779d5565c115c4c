"""A trial's measurements go to the service of its run's name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysearch.backends import get
from raysearch.trainables import measuring


@pytest.mark.parametrize(
    ("options", "method"),
    [({}, "measure"), ({"reference": True}, "set_reference"), ({"again": True}, "remeasure")],
)
def test_the_file_s_bytes_go_to_the_method_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], method: str
) -> None:
    calls: list[Any] = []

    def called(name: str) -> Any:
        return lambda *arguments: calls.append((name, *arguments)) or {"latency_ms": 1.0}

    service = SimpleNamespace(**{n: called(n) for n in ("measure", "set_reference", "remeasure")})
    asked: list[str] = []
    monkeypatch.setattr(measuring, "connect", lambda name: asked.append(name) or service)
    (tmp_path / "model.onnx").write_bytes(b"a model")
    example = {"x": np.zeros((1, 2), dtype=np.float32)}
    measure = measuring.measure_through("raysearch-abc")
    assert not asked  # only when something is measured
    assert measure(get("torch-cpu"), tmp_path / "model.onnx", example, **options) == {"latency_ms": 1.0}
    assert asked == ["raysearch-abc"]
    more = () if method == "remeasure" else (None,)  # a finalist is never predicted, nor described
    assert calls == [(method, "torch-cpu", b"a model", example, *more)]
