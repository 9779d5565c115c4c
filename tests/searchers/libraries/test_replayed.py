"""A searcher without a state is brought back by the same calls."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from raysearch.searchers.base import Config, Outcome
from raysearch.searchers.libraries.replayed import Replayed


class Opaque:
    """Proposes by a generator and by all that it was told; nothing of it can be saved."""

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._told = 0.0

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        draw = self._random.random()
        return given or {"x": draw + self._told}

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        self._told += values["f"]

    def end(self, trial: str, outcome: Outcome) -> None:
        self._told *= 2 if outcome == "finished" else 1


def worked(searcher: Any) -> Any:
    for i in range(3):
        searcher.ask(str(i), {"x": 9.0} if i == 1 else None)
        searcher.tell(str(i), 0, {"f": float(i)})
    searcher.end("0", "finished")
    searcher.end("1", "failed")
    return searcher


def test_it_hands_calls_on_and_answers_as_the_searcher_does() -> None:
    ours, plain = worked(Replayed(Opaque)), worked(Opaque())
    assert [ours.ask("3"), ours.ask("4", {"x": 1.0})] == [plain.ask("3"), {"x": 1.0}]


def test_a_state_in_the_middle_goes_on_exactly() -> None:
    ours = worked(Replayed(Opaque))
    state = json.loads(json.dumps(ours.state()))
    again = Replayed(Opaque)
    again.ask("of another life")
    again.load(state)
    assert [again.ask(name) for name in "ab"] == [ours.ask(name) for name in "ab"]
    assert again.state() == ours.state()


def test_what_a_caller_changes_afterwards_is_not_in_the_state() -> None:
    ours, given = Replayed(Opaque), {"x": {"y": 1}}
    ours.ask("a", given)
    given["x"]["y"] = 2
    assert ours.state()["calls"] == [["ask", "a", {"x": {"y": 1}}, None]]
