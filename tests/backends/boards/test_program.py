"""The program holds all that it needs, and needs nothing but numpy and a runtime."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator

import pytest

from raysearch import backends
from raysearch.backends.boards.program import OLDEST_PYTHON, program, sources
from raysearch.basics.failures import UserError

MODULES = sorted({type(backends.get(name)).__module__ for name in backends.names()})
# Those of NVIDIA's GPUs change a file before it runs, and need onnx on the board too; a TPU needs JAX.
ALONE = [module for module in MODULES if ".nvidia." not in module and ".tpu." not in module]
# What came after Python 3.10, of what is imported by name.
NEWER = {"tomllib", "typing.Self", "typing.Never", "typing.assert_never", "typing.LiteralString"}
NEWER |= {"typing.Unpack", "typing.TypeVarTuple", "typing.NotRequired", "typing.Required", "typing.override"}
NEWER |= {"typing.assert_type", "typing.reveal_type", "typing.dataclass_transform", "enum.StrEnum"}
NEWER |= {"datetime.UTC", "contextlib.chdir", "itertools.batched", "asyncio.TaskGroup", "asyncio.timeout"}
NEWER |= {
    "hashlib.file_digest",
    "warnings.deprecated",
    "copy.replace",
    "operator.call",
    "math.cbrt",
    "math.exp2",
}


def at_import(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that a module makes when it is imported itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_import(node)


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]


@pytest.mark.parametrize("module", ALONE)
def test_nothing_but_numpy_is_needed_to_import_it(module):
    for name, text in sources(module).items():
        roots = {full.split(".")[0] for node in at_import(ast.parse(text)) for full in imported(node)}
        assert roots <= {*sys.stdlib_module_names, "numpy", "raysearch"}, name


@pytest.mark.parametrize("module", MODULES)
def test_an_older_python_reads_it(module):
    for name, text in sources(module).items():
        tree = ast.parse(text, feature_version=OLDEST_PYTHON)
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not {full for node in nodes for full in imported(node)} & NEWER, name
        used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & NEWER, name


@pytest.mark.parametrize("module", ALONE)
def test_it_imports_without_any_other_package(module, tmp_path):
    """All modules of the program in a Python that has numpy, and no raysearch beside it."""
    path = tmp_path / "raysearch.pyz"
    path.write_bytes(program(module))
    names = [name.removesuffix(".py").replace("/", ".") for name in sources(module)]
    code = f"""
import sys
class OnlyNumpy:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in {{*sys.stdlib_module_names, "numpy", "raysearch"}} and not root.startswith("_"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, OnlyNumpy())
sys.path.insert(0, {str(path)!r})
for name in {names!r}:
    module = __import__(name, fromlist=["x"])
    assert module.__file__.startswith({str(path)!r}), module.__file__
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_packages_are_empty_and_everything_else_is_ours():
    with zipfile.ZipFile(io.BytesIO(program("raysearch.backends.runtimes.onnxruntime"))) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    own = sources("raysearch.backends.runtimes.onnxruntime")
    packages = {name for name in texts if name.endswith("__init__.py")}
    assert packages >= {"raysearch/__init__.py", "raysearch/backends/boards/__init__.py"}
    assert {texts[name] for name in packages - set(own)} == {""}
    assert set(texts) == {*own, *packages, "__main__.py"}
    assert "raysearch/backends/measurement/protocol.py" in own
    assert "raysearch/backends/runtimes/torch.py" not in own


def test_the_same_modules_give_the_same_bytes():
    first = program("raysearch.backends.runtimes.onnxruntime")
    program.cache_clear()
    assert program("raysearch.backends.runtimes.onnxruntime") == first


def test_other_modules_than_raysearchs_are_refused():
    for module in ("numpy.linalg", "raysearch.backends.nothing", "json"):
        with pytest.raises(UserError, match="is no module of raysearch"):
            program(module)
