from __future__ import annotations

import os
import platform
from importlib import metadata

import pytest

from raysearch.runs.provenance import provenance


def test_versions_and_the_machine_are_the_real_ones() -> None:
    found = provenance()
    assert found["software"]["python"] == platform.python_version()
    assert found["software"]["torch"] == metadata.version("torch")
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["machine"]["cpu"]


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "pymoo":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert "pymoo" not in provenance()["software"]
