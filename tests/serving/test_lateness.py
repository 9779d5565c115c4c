"""How late an event loop is, before a request can be seen and after its answer is there."""

from __future__ import annotations

import asyncio
import time

import pytest

from raysearch.serving.http.lateness import Lateness


async def busy(lateness: Lateness, seconds: float, block: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lateness.asked()
        time.sleep(block)
        await asyncio.sleep(0)


def test_a_loop_that_is_blocked_is_late() -> None:
    async def play() -> float:
        lateness = Lateness()
        await busy(lateness, 0.5, 0.03)
        return lateness.before_ms

    assert asyncio.run(play()) > 5


def test_three_of_four_answers_say_what_is_usual_and_a_stall_does_not() -> None:
    async def play(late: list[float]) -> float:
        lateness = Lateness()
        lateness.asked()
        for ms in late:
            lateness.answered(ms)
        await asyncio.sleep(0.25)
        return lateness.after_ms

    assert asyncio.run(play([3.0] * 9 + [300.0])) == pytest.approx(3.0)
    assert asyncio.run(play([3.0, 9.0] * 10)) == pytest.approx(9.0)


def test_what_nobody_has_answered_for_a_while_is_forgotten() -> None:
    async def play() -> tuple[float, float]:
        lateness = Lateness()
        lateness.asked()
        lateness.answered(80.0)
        await asyncio.sleep(0.3)
        before = lateness.after_ms
        for _ in range(12):  # refused, so without answers
            lateness.asked()
            await asyncio.sleep(0.2)
        return before, lateness.after_ms

    assert asyncio.run(play()) == (80.0, 0.0)
