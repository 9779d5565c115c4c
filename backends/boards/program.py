"""The one program that a board gets: raysearch's own modules that measure, in a zip file that Python runs."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import raysearch
from raysearch.basics.failures import UserError

OLDEST_PYTHON = (3, 10)
"""What a board's Python must be at least."""

_HOME = Path(raysearch.__file__).parent
_START = "raysearch.backends.boards.at_board"
_MAIN = f"""import sys
if sys.version_info < {OLDEST_PYTHON!r}:
    sys.exit("Python %s.%s is too old: at least %s.%s is needed" % (sys.version_info[:2] + {OLDEST_PYTHON!r}))
from {_START} import main
main()
"""


@cache
def program(backend: str) -> bytes:
    """A zip file that does a job: ``python raysearch.pyz FOLDER``.

    It holds what the backend's module and at_board.py import of raysearch, directly or not, lazily too. A
    package that nobody imports as such is there with an empty ``__init__``.

    Args:
        backend: the name of the backend's module, "raysearch.backends.onnxruntime".

    Raises:
        UserError: there is no such module in raysearch.
    """
    files = sources(backend)
    for name in list(files):
        parents = Path(name).parents
        files |= {
            str(p / "__init__.py"): "" for p in parents if p.name and str(p / "__init__.py") not in files
        }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted({**files, "__main__.py": _MAIN}.items()):
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def sources(backend: str) -> dict[str, str]:
    """The modules that are needed, as texts by their paths in the zip file.

    Args:
        backend: see ``program``.
    """
    found: dict[str, str] = {}
    waiting = [_START, backend]
    while waiting:
        path = _file(waiting.pop())
        if path is None:
            raise UserError(f"{backend!r} is no module of raysearch: boards run raysearch's own backends")
        name = str(path.relative_to(_HOME.parent))
        if name not in found:
            found[name] = path.read_text(encoding="utf-8")
            waiting += _imports(ast.parse(found[name]))
    return found


def _file(module: str) -> Path | None:
    """The file of a module of raysearch, None where there is none."""
    first, *rest = module.split(".")
    path = _HOME.joinpath(*rest)
    choices = (path.with_suffix(".py"), path / "__init__.py") if rest else (path / "__init__.py",)
    return next((p for p in choices if p.is_file()), None) if first == "raysearch" else None


def _imports(tree: ast.AST) -> Iterator[str]:
    """The modules of raysearch that a module imports, those for type checkers alone left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "raysearch")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "raysearch":
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if _file(name) else str(node.module) for name in submodules)
        yield from _imports(node)
