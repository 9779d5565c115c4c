"""The device's clock, and whether there is a device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raysearch.backends.runtimes.nvidia import gpu as gpus

real = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here")


def test_two_readings_time_what_was_enqueued_between_them(cuda: Any) -> None:
    clock, stream = gpus.device_clock(0), gpus.stream_of(0)
    first = clock()
    stream.ms += 3.5
    second = clock()
    assert (first, second) == (0, 3_500_000)
    assert clock() == second


def test_a_clock_that_has_run_for_hours_is_as_fine_as_a_new_one(cuda: Any) -> None:
    """An event's distance from the first would be rounded to float32 milliseconds."""
    clock, stream = gpus.device_clock(0), gpus.stream_of(0)
    for _ in range(10):
        stream.ms += 1e6
        clock()
    start = clock()
    stream.ms += 0.001
    assert clock() - start == pytest.approx(1000, abs=2)


def test_it_says_which_gpu_is_missing(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus.missing(0) is None
    assert gpus.missing(1) == "there is no GPU 1 here, only 1: give gpu 0 to 0"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert gpus.missing(0) == "no NVIDIA GPU and driver are found here"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert gpus.missing(0) == "torch is a build without CUDA here"


@real
def test_twice_the_work_takes_twice_as_long_on_the_device() -> None:
    stream, clock = gpus.stream_of(0), gpus.device_clock(0)
    x = torch.randn(2048, 2048, device=gpus.place(0))

    def timed(repeats: int) -> int:
        start = clock()
        with torch.cuda.stream(stream):
            for _ in range(repeats):
                x @ x
        return clock() - start

    timed(50)
    assert 1.6 < timed(200) / timed(100) < 2.4
