"""Who imports whom in raysearch, lazy imports among them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "raysearch"


def modules() -> dict[str, Path]:
    """Every module of the package by its name, those behind the links to the three wings too."""
    found = {}
    for folder, _, files in os.walk(ROOT / PACKAGE, followlinks=True):
        for path in (Path(folder) / name for name in files if name.endswith(".py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, known: dict[str, Path], *, typing: bool) -> set[str]:
    """The modules that one of them imports anywhere; ``typing``: those for type checkers alone too."""
    found = set()
    for node in _nodes(ast.parse(known[name].read_text(encoding="utf-8")), typing):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full[n] if full[n] in known else node.module for n in full}
    return found & set(known) - {name, PACKAGE}


def libraries(name: str, known: dict[str, Path]) -> set[str]:
    """The libraries that a module imports anywhere, by the name of their package."""
    nodes = list(_nodes(ast.parse(known[name].read_text(encoding="utf-8")), typing=True))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {full.partition(".")[0] for full in found} - {PACKAGE}


def room(module: str) -> str:
    """The room that a module is in; the package's face is one too."""
    return (*module.split("."), PACKAGE)[1]


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of a cycle in order, its first one again at the end; empty where there is none."""
    done: set[str] = set()

    def search(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        found = next(filter(None, (search(other, [*path, node]) for other in sorted(graph[node]))), [])
        done.add(node)
        return found

    return next(filter(None, (search(start, []) for start in graph)), [])


def _nodes(tree: ast.AST, typing: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing:
            continue
        yield node
        yield from _nodes(node, typing)
