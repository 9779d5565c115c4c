"""Eager torch on the CPU: the operators of an exported program (.pt2), one by one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.backends.base import Array, Form, MeasurementError, cpu_name
from raysearch.basics.failures import first_line


class TorchCpu:
    """The target "torch-cpu": what a user gets who runs the network in eager torch.

    ``runner`` sets torch to one thread for the whole process (torch knows no other way), and leaves it so:
    measure in a process of its own, as the MeasurementService does.
    """

    name = "torch-cpu"
    runtime = "torch"
    form: Form = "pt2"
    suffix = ".pt2"
    channel_multiple = 8
    threads = 1

    def unavailable(self) -> str | None:
        """Why it cannot be used here, None where it can."""
        return None if find_spec("torch") is not None else "torch is not installed: pip install torch"

    def version(self) -> str:
        """Torch's version."""
        return version("torch")

    def device(self) -> str:
        """The processor's model name."""
        return cpu_name()

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
            return TorchModel(program.module(check_guards=False))
        except Exception as error:  # zip, pickle and schema errors, each of another class
            raise MeasurementError(f"{self.name} cannot load {path.name}: {first_line(error)}") from error


class TorchModel:
    """An exported program, run eagerly."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, batch: Array) -> NDArray[np.float32]:
        """The logits of a batch."""
        import torch

        with torch.inference_mode():
            logits: NDArray[np.float32] = self._module(torch.as_tensor(batch)).numpy()
        return logits

    def runner(self, batch: Array) -> Callable[[], object]:
        """One inference a call. Sets torch to one thread, for the whole process."""
        import torch

        torch.set_num_threads(TorchCpu.threads)
        tensor, module = torch.as_tensor(batch), self._module

        def run() -> object:
            with torch.inference_mode():
                return module(tensor)

        return run
