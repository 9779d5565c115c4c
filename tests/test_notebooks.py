"""The notebooks: every cell compiles, what it imports exists, and the outputs are kept and small."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))
MOST_BYTES = 500_000


def cells(path: Path) -> list[dict[str, Any]]:
    """The code cells."""
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


def test_there_is_one_for_each_study() -> None:
    assert {p.stem for p in NOTEBOOKS} >= {"digits", "pruning_allocation", "pruning_masks"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_compile_and_their_imports_exist(path: Path) -> None:
    imported = []
    for cell in cells(path):
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom):
                imported += [(node.module, alias.name) for alias in node.names]
    assert imported
    for module, name in imported:
        found = importlib.import_module(str(module))
        if not hasattr(found, name):  # a module of a package, then
            importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_kept_without_errors_and_small(path: Path) -> None:
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    plots = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(plots) >= 2
    assert path.stat().st_size < MOST_BYTES
    assert all(cell["execution_count"] for cell in cells(path))


@pytest.mark.timeout(400)
def test_the_main_job_runs_with_a_live_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip(
        "nbclient", reason='nbclient is not installed: pip install "raysearch[notebooks]"'
    )
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("RAYSEARCH_CACHE", "")
    notebook = nbformat.read(NOTEBOOKS[0].with_name("digits.ipynb"), as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("num_trials=24", "num_trials=2").replace(
            "    targets=[", '    epochs=1,\n    screen=1,\n    parent={"epochs": 1},\n    targets=['
        )
    nbclient.NotebookClient(notebook, timeout=380, resources={"metadata": {"path": str(tmp_path)}}).execute()
    search = next(cell for cell in notebook.cells if "study.run" in cell.source)
    tables = [
        re.sub("\x1b[^m]*m", "", o.data["text/plain"])
        for o in search.outputs
        if o.output_type == "display_data"
    ]
    assert len(tables) == 1  # drawn anew in its place
    assert "2 done" in tables[0]
    assert "hypervolume" in tables[0]
    assert "on the front" in tables[0]
