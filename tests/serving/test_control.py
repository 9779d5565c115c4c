"""The line from `raysearch serve --update` to the process that serves."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from raysearch.basics.failures import RunError, UserError
from raysearch.serving.control import _place, ask, listening

PORT = 50_000 + os.getpid() % 10_000  # no server: the number names the socket


def test_it_is_asked_and_answers() -> None:
    asked: list[str] = []
    with listening(PORT, asked.append):
        assert stat.S_IMODE(_place(PORT).stat().st_mode) & 0o077 == 0
        ask(PORT, "/a/run")
    assert asked == ["/a/run"]
    assert not _place(PORT).exists()


def test_a_refusal_is_told() -> None:
    def refuse(run: str) -> None:
        raise UserError(f"{run} takes other inputs")

    with listening(PORT, refuse):
        with pytest.raises(UserError, match="the old front goes on: /a/run takes other inputs"):
            ask(PORT, "/a/run")
        assert threading.active_count() > 1


def test_nothing_is_served() -> None:
    with pytest.raises(RunError, match="start it without --update"):
        ask(PORT + 1, "/a/run")
