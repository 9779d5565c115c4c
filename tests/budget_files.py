"""Allocation files, and the command line that reads them: what several test files share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from raysearch.cli.main import app

FINISH = {"event": "session", "action": "finish", "time": 99.0}
LINES = {"accuracy": "90 - 40 p", "size_mb": [100, -80], "latency_ms": "10 - 5 p"}


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "budget.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def lines(**more: Any) -> dict[str, Any]:
    """Two branches with straight curves."""
    return {"curves": LINES, "importances": {"front": 0.7, "back": 0.3}, **more}
