"""As much of ``torch.cuda`` as raysearch's adaptors use: work takes device time, and events tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

WORK_MS = 0.5


class Stream:
    """Where work is put; its device clock is ahead by what was."""

    def __init__(self, device: int) -> None:
        self.device, self.ms, self.graph = device, 100.0, None
        self.cuda_stream = id(self)

    def synchronize(self) -> None: ...


class Event:
    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.ms, self.waited = 0.0, False

    def record(self, stream: Stream) -> None:
        self.ms = stream.ms

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, later: Event) -> float:
        assert later.waited
        return later.ms - self.ms


class CUDAGraph:
    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self.launches = 0

    def replay(self) -> None:
        self.launches += 1
        for work in self.work:
            current().ms += WORK_MS
            work()


class Cuda:
    """The functions, and what they have noted.

    Attributes:
        captures: False makes every capture fail, as branches do.
    """

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.captures = True
        self.graphs: list[CUDAGraph] = []
        self.capturing: CUDAGraph | None = None

    def stream(self, device: int) -> Stream:
        made = Stream(device)
        self.streams[made.cuda_stream] = made
        return made

    def enqueue(self, handle: int, work: Callable[[], None]) -> None:
        if self.capturing is not None:
            self.capturing.work.append(work)
            return
        self.streams[handle].ms += WORK_MS
        work()

    @contextmanager
    def graph(self, graph: CUDAGraph, *, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        assert stream.cuda_stream in self.streams
        self.capturing = graph
        try:
            yield
        finally:
            self.capturing = None
        if not self.captures:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.graphs.append(graph)


_current: list[Stream] = []


def current() -> Stream:
    return _current[-1]


def install(monkeypatch: Any) -> Cuda:
    """Put it in the place of ``torch.cuda``'s own, with one GPU whose tensors lie on the CPU."""
    import torch

    from raysearch.backends.runtimes.nvidia import gpu as gpus

    from . import tensorrt_stand_in

    cuda = Cuda()
    gpus.stream_of.cache_clear()
    replaced = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda gpu: "Stand-in RTX",
        "device": nullcontext,
        "stream": nullcontext,
        "set_stream": _current.append,
        "Stream": cuda.stream,
        "Event": Event,
        "CUDAGraph": CUDAGraph,
        "graph": cuda.graph,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(gpus, "place", lambda gpu: torch.device("cpu"))
    monkeypatch.setattr(tensorrt_stand_in, "enqueue", cuda.enqueue)
    return cuda
