"""A GPU as torch reaches it: whether it is there, its stream, and a clock that ticks on the device itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

from raysearch.basics.failures import UserError

DTYPES = ("fp32", "fp16", "bf16")


def check_options(target: str, gpu: object, dtype: object) -> None:
    """Refuse what no target on a GPU can have.

    Raises:
        UserError: ``gpu`` is no index, or ``dtype`` is none of the three.
    """
    if type(gpu) is not int or gpu < 0:
        raise UserError(f"target {target!r}: gpu is {gpu!r}, give the GPU's index, from 0 on")
    if dtype not in DTYPES:
        raise UserError(f"target {target!r}: dtype is {dtype!r}, give {', '.join(DTYPES)}")


def missing(gpu: int) -> str | None:
    """Why torch cannot work on a GPU of this index; None where it can."""
    if find_spec("torch") is None:
        return "torch is not installed: pip install torch"
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        return "no NVIDIA GPU and driver are found here" if built else "torch is a build without CUDA here"
    count = torch.cuda.device_count()
    return None if gpu < count else f"there is no GPU {gpu} here, only {count}: give gpu 0 to {count - 1}"


def place(gpu: int) -> Any:
    """The torch device that tensors of a GPU lie on."""
    import torch

    return torch.device("cuda", gpu)


def name_of(gpu: int) -> str:
    """The GPU's model name."""
    import torch

    return str(torch.cuda.get_device_name(gpu))


@cache
def stream_of(gpu: int) -> Any:
    """The stream on which everything is enqueued that is to be timed on a GPU; one in a process."""
    import torch

    make: Any = torch.cuda.Stream
    return make(gpu)


def device_clock(gpu: int) -> Callable[[], int]:
    """A clock in nanoseconds of the device's own time, on which enqueued work has passed when it is read.

    Each reading records an event behind what was enqueued and waits for it, so that two readings time all
    that was enqueued between them. Readings are added up from one to the next: an event says how far it is
    from another in float32 milliseconds, which over an hour are no longer microseconds.
    """
    import torch

    make: Any = torch.cuda.Event

    def event() -> Any:
        made = make(enable_timing=True)
        made.record(stream_of(gpu))
        return made

    last, passed_ms = event(), 0.0

    def read() -> int:
        nonlocal last, passed_ms
        now = event()
        now.synchronize()
        passed_ms += last.elapsed_time(now)
        last = now
        return int(passed_ms * 1e6)

    return read
