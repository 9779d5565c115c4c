"""Torch itself runs an exported program (.pt2): eagerly, compiled or from a CUDA graph; on a CPU or a GPU."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from raysearch.backends.base import Array, Feed, Form, MeasurementError, cpu_clock, cpu_name
from raysearch.backends.energy.meters import Metered
from raysearch.backends.exported import load_program
from raysearch.basics.failures import UserError, first_line

_DTYPES = {"f32": None, "bf16": "bfloat16", "f16": "float16"}
_BUILT = {"compile", "aoti"}
# CUDA's documentation asks for a few runs before a capture, for what libraries set up at their first.
_RUNS_BEFORE_CAPTURE = 3


@dataclass(frozen=True, kw_only=True)
class Torch(Metered):
    """The targets "torch-cpu", "torch-compile-cpu", "torch-aoti-cpu", and the same with "cuda" for "cpu".

    "torch-cpu" and "torch-cuda" run a program's operators one by one, as a user does who compiles nothing;
    "torch-cuda-graphs" replays them from a CUDA graph. "torch-compile-..." is ``torch.compile`` and
    "torch-aoti-..." a package of AOTInductor, for the very shapes that are measured. These take minutes for a
    model: they are measured on finalists only, and what is not timed, a task's metrics on a file, is
    computed eagerly by the same program on the same device.

    On a GPU inputs and outputs stay in its memory: what is timed holds no copies, and float is full float
    (no TF32). ``runner`` sets torch's number of threads and its TF32 for the whole process (torch knows no
    other way), and leaves it so: measure in a process of its own, as the MeasurementService does.

    Args:
        runtime: which of them.
        name: of the target.
        threads: of one inference, on a processor.
        batch: inputs at a time.
        dtype: of weights and activations: "f32" (as in the file), "bf16" or "f16".
    """

    runtime: str = "torch-cpu"
    name: str = "torch-cpu"
    threads: int = 1
    batch: int = 1
    dtype: str = "f32"
    package: ClassVar[str] = "torch"
    form: ClassVar[Form] = "pt2"
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset()
    sparse: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if self.dtype not in tuple(_DTYPES):
            raise UserError(f"target {self.name!r}: dtype is {self.dtype!r}, give {', '.join(_DTYPES)}")

    @property
    def way(self) -> str:
        """How it runs a program: "eager", "compile", "aoti" or "graphs"."""
        said = set(self.runtime.split("-")) & {"compile", "aoti", "graphs"}
        return said.pop() if said else "eager"

    @property
    def place(self) -> str:
        """Where: "cpu" or "cuda"."""
        return "cuda" if "cuda" in self.runtime else "cpu"

    @property
    def finalists_only(self) -> bool:
        """Whether it is compiled first, for minutes."""
        return self.way in _BUILT

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        if find_spec("torch") is None:
            return "torch is not installed: pip install torch"
        if self.place == "cuda" and (reason := _no_gpu()):
            return reason
        if self.way in _BUILT and (reason := _cannot_compile(self.way, self.place)):
            return reason
        return super().unavailable()

    def weight_bits(self) -> int:
        """All 8: it computes in float."""
        return 8

    def version(self) -> str:
        """Torch's version."""
        return version("torch")

    def device(self) -> str:
        """The model name of the processor or of the GPU."""
        if self.place == "cpu":
            return cpu_name()
        import torch

        return torch.cuda.get_device_name()

    def clock(self) -> Callable[[], int]:
        """The calling thread's on a processor with one thread, else the wall's; the GPU's own on a GPU."""
        return cuda_clock() if self.place == "cuda" else cpu_clock(self.threads)

    def load(self, path: Path, *, optimize: bool = True) -> TorchModel:
        """The module of an exported program.

        Args:
            path: the ``.pt2`` file.
            optimize: makes no difference: outputs are computed eagerly, and that optimises nothing.

        Raises:
            MeasurementError: torch cannot read the file.
        """
        try:
            program = load_program(path)
            if self.place != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, self.place)
            # Without the guards on the input's shape, which an eager module does not pay for either.
            module = program.module(check_guards=False)
        except Exception as error:  # zip, pickle and schema errors, each of another class
            raise MeasurementError(f"{self.name} cannot load {path.name}: {first_line(error)}") from error
        return TorchModel(module, program.call_spec.in_spec, self)


class TorchModel:
    """An exported program in eager torch, and what its target makes of it to be timed."""

    def __init__(self, module: Any, in_spec: Any, target: Torch) -> None:
        import torch

        name = _DTYPES[target.dtype]
        self._dtype = getattr(torch, name) if name else None
        self._module = module.to(self._dtype) if name else module
        self._in_spec, self._target = in_spec, target

    def _arguments(self, feed: Feed) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the network was captured with, made of this feed's tensors in their order."""
        import torch
        from torch.utils import _pytree as pytree

        # Of an array that may only be read, as those that come through Ray, torch wants a copy.
        arrays = [a if a.flags.writeable else a.copy() for a in feed.values()]
        tensors = [torch.as_tensor(array).to(self._target.place) for array in arrays]
        if self._dtype is not None:
            tensors = [t.to(self._dtype) if t.is_floating_point() else t for t in tensors]
        return pytree.tree_unflatten(tensors, self._in_spec)  # type: ignore[no-any-return]

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, computed eagerly."""
        import torch
        from torch.utils import _pytree as pytree

        args, kwargs = self._arguments(feed)
        with torch.inference_mode(), _full_float() if self._target.place == "cuda" else nullcontext():
            outputs = pytree.tree_leaves(self._module(*args, **kwargs))
        return tuple(self._array(output) for output in outputs if isinstance(output, torch.Tensor))

    def _array(self, output: Any) -> Array:
        """An output in the memory of the host; numpy has no bfloat16."""
        found: Array = (output.float() if output.dtype == self._dtype else output).cpu().numpy()
        return found

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, which a GPU may still be at when it returns; made for these very shapes.

        Sets torch's number of threads, and TF32 to off, for the whole process.
        """
        import torch

        torch.set_num_threads(self._target.threads)
        if self._target.place == "cuda":
            torch.backends.cudnn.allow_tf32 = False
        args, kwargs = self._arguments(feed)
        infer = _BUILDERS[self._target.way](self._module, args, kwargs)

        def run() -> object:
            with torch.inference_mode():
                return infer()

        return run


def cuda_clock() -> Callable[[], int]:
    """The GPU's clock, in nanoseconds: a reading waits for what was launched before it on this stream.

    So a block of inferences, launched one behind the other, is timed by two readings; what the host does
    meanwhile counts only where the GPU waits for it.
    """
    import torch

    cuda: Any = torch.cuda  # some of it has no types
    last, passed = cuda.Event(enable_timing=True), 0.0
    last.record()

    def read() -> int:
        nonlocal last, passed
        now = cuda.Event(enable_timing=True)
        now.record()
        now.synchronize()
        # Interval by interval: CUDA gives milliseconds in single precision, too coarse for long ones.
        passed += float(last.elapsed_time(now))
        last = now
        return round(passed * 1e6)

    return read


def _eager(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], object]:
    return partial(module, *args, **kwargs)


def _compiled(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], object]:
    import torch

    infer = partial(torch.compile(module, fullgraph=True, dynamic=False), *args, **kwargs)
    with _own_caches(), torch.inference_mode():
        infer()
    return infer


def _packaged(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], object]:
    """By way of a package on disk, as it is deployed."""
    import torch
    from torch._inductor import aoti_compile_and_package, aoti_load_package

    with _own_caches() as folder, torch.no_grad():
        program = torch.export.export(module, args, kwargs)
        package = aoti_compile_and_package(program, package_path=str(folder / "model.pt2"))
        return partial(aoti_load_package(package), *args, **kwargs)


def _captured(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], object]:
    """A CUDA graph, with the tensors that it reads and writes, which it does not keep alive itself."""
    import torch

    cuda: Any = torch.cuda  # some of it has no types
    stream, graph = cuda.Stream(), cuda.CUDAGraph()
    stream.wait_stream(cuda.current_stream())
    with torch.inference_mode():
        with cuda.stream(stream):
            for _ in range(_RUNS_BEFORE_CAPTURE):
                module(*args, **kwargs)
        cuda.current_stream().wait_stream(stream)
        with cuda.graph(graph):
            held = (module(*args, **kwargs), module, args, kwargs)

    def replay() -> object:
        graph.replay()
        return held[0]

    return replay


_BUILDERS: Mapping[str, Callable[..., Callable[[], object]]] = {
    "eager": _eager,
    "compile": _compiled,
    "aoti": _packaged,
    "graphs": _captured,
}


@contextmanager
def _own_caches() -> Iterator[Path]:
    """A temporary folder, meanwhile that of the compiler's caches; what was loaded from there outlives it."""
    places = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
    before = {name: os.environ.get(name) for name in places}
    with tempfile.TemporaryDirectory(prefix="raysearch-torch-") as folder:
        os.environ |= {name: str(Path(folder) / place) for name, place in places.items()}
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                os.environ |= {} if value is None else {name: value}


@contextmanager
def _full_float() -> Iterator[None]:
    """Convolutions without TF32 meanwhile."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _no_gpu() -> str | None:
    import torch

    if torch.version.cuda is None:
        return "this torch is built without CUDA: install one with it (pytorch.org/get-started says how)"
    return None if torch.cuda.is_available() else "torch finds no CUDA GPU here"


def _cannot_compile(way: str, place: str) -> str | None:
    """What of a compiler is missing, with the command that brings it."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"the C++ compiler {compiler} is missing: install it (apt-get install g++) or name one in CXX"
    headers = Path(sysconfig.get_path("include"))
    if way == "compile" and not (headers / "Python.h").exists():
        return f"Python's headers are missing in {headers}: apt-get install python3-dev"
    if place == "cuda" and find_spec("triton") is None:
        return "triton, which compiles for CUDA, is not installed: pip install triton"
    return None
