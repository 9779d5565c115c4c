"""What replicas share, without Ray: changes reach all of them, and one that fails is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from raysearch.serving import board as board_module
from raysearch.serving.board import Shared, State, follow
from raysearch.serving.counts import Counts

LIMITS = {"slo_ms": 20.0, "reserve": 0.3}


class Gone(Exception):
    """A replica has ended."""


class Replica:
    """A replica of the front "a": what it keeps to, and what it opened.

    Args:
        board: shared with others.
        name: its own.
        error: why it cannot keep to what is ``refused``.
        refused: a front, or a limit.
        seconds: it takes to open a front.
        in_time: what it counts.
    """

    def __init__(
        self,
        board: Shared,
        name: str,
        error: str = "",
        refused: str = "",
        seconds: float = 0,
        in_time: int = 0,
    ) -> None:
        self.board, self.name, self.error, self.refused = board, name, error, refused
        self.seconds, self.in_time = seconds, in_time
        self.opened: list[str] = []
        self.state: State = {}
        self.loop = asyncio.get_running_loop()
        self.ending = False

    async def start(self, front: str = "a") -> Replica:
        self.state = await self.board.begin(front, LIMITS)
        self.opened.append(self.state["front"])
        threading.Thread(target=self._follow, daemon=True).start()
        await asyncio.sleep(0.1)
        return self

    def _follow(self) -> None:
        with contextlib.suppress(Gone):
            follow(self.state, self._exchange, self._keep_to)

    def _exchange(self, state: State, error: str, newest: int) -> State:
        if self.ending:
            raise Gone
        self.state = state
        counts = Counts(in_time=self.in_time, waiting=1)
        told = self.board.exchange(self.name, state, counts, error, newest)
        return asyncio.run_coroutine_threadsafe(told, self.loop).result(20)

    def _keep_to(self, state: State, wanted: State) -> tuple[State, str]:
        time.sleep(self.seconds)
        if self.refused in (wanted["front"], *wanted["limits"].values()):
            return state | {"version": wanted["version"]}, self.error
        if wanted["front_version"] != state["front_version"]:
            self.opened.append(wanted["front"])
        return wanted, ""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_POLL_S", 0.05)


def play(scene: Callable[[Shared], Awaitable[list[Replica]]]) -> None:
    async def whole() -> None:
        replicas = await scene(Shared())
        for replica in replicas:
            replica.ending = True
        await asyncio.sleep(0.2)  # until their last exchange is answered

    asyncio.run(whole())


def test_a_change_returns_once_all_replicas_have_it() -> None:
    async def scene(board: Shared) -> list[Replica]:
        both = [await Replica(board, f"r{n}", in_time=n + 1, seconds=0.2).start() for n in range(2)]
        assert await board.change(front="b") == []
        assert [one.opened for one in both] == [["a", "b"]] * 2
        assert await board.change(limits={"slo_ms": 5.0}) == []
        assert [one.state["limits"] for one in both] == [{"slo_ms": 5.0, "reserve": 0.3}] * 2
        assert (await board.counts()).in_time == 3
        return both

    play(scene)


def test_the_same_front_again_is_opened_anew() -> None:
    async def scene(board: Shared) -> list[Replica]:
        one = await Replica(board, "r").start()
        assert await board.change(front="a") == []
        assert await board.change(limits={"slo_ms": 5.0}) == []
        assert one.opened == ["a", "a"]
        return [one]

    play(scene)


def test_a_change_that_one_replica_refuses_is_taken_back() -> None:
    async def scene(board: Shared) -> list[Replica]:
        good = await Replica(board, "good").start()
        bad = await Replica(board, "bad", error="no such file", refused="b").start()
        assert await board.change(front="b") == ["no such file"]
        await asyncio.sleep(0.3)
        assert [one.state["front"] for one in (good, bad)] == ["a", "a"]
        assert (good.opened, bad.opened) == (["a", "b", "a"], ["a"])
        bad.refused = 5.0  # type: ignore[assignment]
        assert await board.change(limits={"slo_ms": 5.0}) == ["no such file"]
        assert await board.change(limits={"slo_ms": 7.0}) == []
        assert [one.state["limits"]["slo_ms"] for one in (good, bad)] == [7.0, 7.0]
        return [good, bad]

    play(scene)


def test_changes_at_once_are_all_kept() -> None:
    async def scene(board: Shared) -> list[Replica]:
        both = [await Replica(board, f"r{n}").start() for n in range(2)]
        changes = [board.change(limits={"slo_ms": 5.0}), board.change(limits={"reserve": 0.1})]
        assert await asyncio.gather(*changes) == [[], []]
        assert [one.state["limits"] for one in both] == [{"slo_ms": 5.0, "reserve": 0.1}] * 2
        return both

    play(scene)


def test_limits_that_change_during_a_rollout_that_fails_hold() -> None:
    async def scene(board: Shared) -> list[Replica]:
        both = [
            await Replica(board, f"r{n}", error="torn", refused="b", seconds=0.2).start() for n in range(2)
        ]
        rollout = asyncio.create_task(board.change(front="b"))
        await asyncio.sleep(0.1)
        assert await board.change(limits={"slo_ms": 5.0}) == []
        assert await rollout == ["torn", "torn"]
        assert [(one.state["front"], one.state["limits"]["slo_ms"]) for one in both] == [("a", 5.0)] * 2
        return both

    play(scene)


def test_a_replica_that_opens_sessions_is_heard_of_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_SILENT_S", 0.5)

    async def scene(board: Shared) -> list[Replica]:
        one = await Replica(board, "r", seconds=1.5).start()
        change = asyncio.create_task(board.change(limits={"slo_ms": 5.0}))
        await asyncio.sleep(1.0)
        counts = await board.counts()
        assert (counts.replicas, counts.waiting, change.done()) == (1, 1, False)
        assert await change == []
        assert one.state["limits"]["slo_ms"] == 5.0
        return [one]

    play(scene)


def test_one_that_does_not_follow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_PATIENCE_S", 0.3)

    async def scene(board: Shared) -> list[Replica]:
        both = [await Replica(board, f"r{n}", seconds=2.0 * n).start() for n in range(2)]
        assert await board.change(front="b") == ["replica r1 has not followed within 0.3 s"]
        return both

    play(scene)


def test_one_that_is_gone_is_not_waited_for_and_what_it_did_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "_SILENT_S", 0.2)

    async def scene(board: Shared) -> list[Replica]:
        gone = await Replica(board, "gone", in_time=5, seconds=5).start()
        change = asyncio.create_task(board.change(limits={"slo_ms": 5.0}))
        await asyncio.sleep(0.1)
        gone.ending = True  # while it is waited for
        assert await asyncio.wait_for(change, 2) == []
        counts = await board.counts()
        assert (counts.in_time, counts.replicas, counts.waiting) == (5, 0, 0)
        monkeypatch.setattr(board_module, "_GONE_S", 0.2)
        await board.begin("a", LIMITS)
        assert list(board._counts) == []
        assert (await board.counts()).in_time == 5
        return [gone]

    play(scene)


def test_a_board_that_is_started_anew_learns_from_replicas() -> None:
    async def scene(board: Shared) -> list[Replica]:
        state = await board.begin("a", LIMITS)
        await board.change(front="c")
        changed = await board.begin("a", LIMITS)
        anew = Shared()
        assert await anew.exchange("r", changed, Counts()) == changed
        assert (await anew.begin("a", LIMITS))["front"] == "c"
        assert state["version"] < changed["version"]
        return []

    play(scene)


def test_other_arguments_go_before_what_was_changed() -> None:
    async def scene(board: Shared) -> list[Replica]:
        one = await Replica(board, "r").start()
        await board.change(front="b", limits={"slo_ms": 5.0})
        assert (await board.begin("a", LIMITS))["front"] == "b"  # another replica of the same application
        state = await board.begin("c", LIMITS | {"reserve": 0.1})
        assert (state["front"], state["limits"]) == ("c", {"slo_ms": 20.0, "reserve": 0.1})
        await asyncio.sleep(0.2)
        assert one.opened == ["a", "b", "c"]
        return [one]

    play(scene)
