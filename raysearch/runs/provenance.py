"""With what software and on what machine a run was started; the journal's first line holds it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from raysearch.backends.base import cpu_name

_PACKAGES = ("raysearch", "ray", "torch", "torch-pruning", "onnx", "onnxruntime", "pymoo", "moocore", "numpy")


def provenance() -> dict[str, Any]:
    """The versions of Python and of the packages that figures depend on, and the driver's processor."""
    software = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            software[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a checkout, or a runtime that is not installed
            continue
    machine = {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()}
    return {"software": software, "machine": machine}
