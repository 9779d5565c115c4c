"""What replicas share, without Ray: changes reach all of them, and one that fails is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raysearch.serving import board as board_module
from raysearch.serving.board import Shared
from raysearch.serving.counts import Counts


async def replica(board: Shared, name: str, seen: list[Any], error: str = "", in_time: int = 0) -> None:
    state: dict[str, Any] = {"version": 0, "front": "a", "limits": {}}
    said = ""
    while True:
        new = await board.exchange(name, state, Counts(in_time=in_time), said)
        if new["version"] != state["version"]:
            said, state = error, new
            seen.append(new["front"])


def test_a_change_returns_once_all_replicas_have_it() -> None:
    async def play() -> None:
        board, seen = Shared(), ([], [])
        tasks = [asyncio.create_task(replica(board, f"r{n}", s, in_time=n + 1)) for n, s in enumerate(seen)]
        await asyncio.sleep(0.05)
        assert await board.change(front="b") == []
        await asyncio.sleep(0.01)
        assert seen == (["b"], ["b"])
        assert (await board.counts()).in_time == 3
        for task in tasks:
            task.cancel()

    asyncio.run(play())


def test_a_front_that_one_replica_refuses_is_taken_back() -> None:
    async def play() -> None:
        board, seen = Shared(), ([], [])
        tasks = [
            asyncio.create_task(replica(board, "good", seen[0])),
            asyncio.create_task(replica(board, "bad", seen[1], "no such file")),
        ]
        await asyncio.sleep(0.05)
        assert await board.change(front="b") == ["no such file"]
        await asyncio.sleep(0.05)
        assert (await board.state())["front"] == "a"
        assert seen[0] == ["b", "a"]
        for task in tasks:
            task.cancel()

    asyncio.run(play())


def test_one_that_is_gone_is_not_waited_for_and_what_it_did_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_SILENT_S", 0.1)
    monkeypatch.setattr(board_module, "_POLL_S", 0.02)

    async def play() -> None:
        board = Shared()
        gone = asyncio.create_task(replica(board, "gone", [], in_time=5))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.15)
        assert await asyncio.wait_for(board.change(limits={"slo_ms": 5}), 1) == []
        counts = await board.counts()
        assert (counts.in_time, counts.replicas) == (5, 0)

    asyncio.run(play())


def test_a_board_that_is_started_anew_learns_from_replicas() -> None:
    async def play() -> None:
        board = Shared()
        state = {"version": 7, "front": "c", "limits": {"slo_ms": 5}}
        assert await board.exchange("r", state, Counts()) == state

    asyncio.run(play())
