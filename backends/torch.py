"""Eager torch on the CPU: the operators of an exported program (.pt2), one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from raysearch.backends.base import TIMED, Array, Feed, Form, MeasurementError, Source, cpu_clock, cpu_name
from raysearch.basics.failures import first_line


@dataclass(frozen=True, kw_only=True)
class TorchCpu:
    """The target "torch-cpu": what a user gets who runs the network in eager torch.

    ``runner`` sets torch's number of threads for the whole process (torch knows no other way), and leaves it
    so: measure in a process of its own, as the MeasurementService does.
    """

    runtime: str = "torch-cpu"
    name: str = "torch-cpu"
    threads: int = 1
    batch: int = 1
    package: ClassVar[str] = "torch"
    form: ClassVar[Form] = "pt2"
    figures: ClassVar[Mapping[str, Source]] = TIMED
    channel_multiple: ClassVar[int] = 8
    integers: ClassVar[frozenset[int]] = frozenset()
    sparse: ClassVar[frozenset[str]] = frozenset()

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        return None if find_spec("torch") is not None else "torch is not installed: pip install torch"

    def weight_bits(self) -> int:
        """All 8: it computes in float."""
        return 8

    def version(self) -> str:
        """Torch's version."""
        return version("torch")

    def device(self) -> str:
        """The processor's model name."""
        return cpu_name()

    def clock(self) -> Callable[[], int]:
        """The calling thread's, or the wall's with several threads."""
        return cpu_clock(self.threads)

    def load(self, path: Path, *, optimize: bool = True) -> TorchModel:
        """The module of an exported program.

        Args:
            path: the ``.pt2`` file.
            optimize: makes no difference: eager torch optimises nothing.

        Raises:
            MeasurementError: torch cannot read the file.
        """
        import torch

        try:
            program = torch.export.load(str(path))
            # Without the guards on the input's shape, which an eager module does not pay for either.
            return TorchModel(program.module(check_guards=False), program.call_spec.in_spec, self.threads)
        except Exception as error:  # zip, pickle and schema errors, each of another class
            raise MeasurementError(f"{self.name} cannot load {path.name}: {first_line(error)}") from error


class TorchModel:
    """An exported program, run eagerly."""

    def __init__(self, module: Any, in_spec: Any, threads: int) -> None:
        self._module, self._in_spec, self._threads = module, in_spec, threads

    def _arguments(self, feed: Feed) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the network was captured with, made of this feed's tensors in their order."""
        import torch
        from torch.utils import _pytree as pytree

        # Of an array that may only be read, as those that come through Ray, torch wants a copy.
        tensors = [torch.as_tensor(a if a.flags.writeable else a.copy()) for a in feed.values()]
        return pytree.tree_unflatten(tensors, self._in_spec)  # type: ignore[no-any-return]

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch."""
        import torch
        from torch.utils import _pytree as pytree

        args, kwargs = self._arguments(feed)
        with torch.inference_mode():
            outputs = pytree.tree_leaves(self._module(*args, **kwargs))
        return tuple(output.numpy() for output in outputs if isinstance(output, torch.Tensor))

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call. Sets torch's number of threads, for the whole process."""
        import torch

        torch.set_num_threads(self._threads)
        module = self._module
        args, kwargs = self._arguments(feed)

        def run() -> object:
            with torch.inference_mode():
                return module(*args, **kwargs)

        return run
