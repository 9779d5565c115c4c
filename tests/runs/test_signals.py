"""The first signal is noted, the second raises wherever the program is."""

from __future__ import annotations

import signal
import threading

import pytest

from raysearch.runs.signals import Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_raises_where_nobody_looks_and_the_second_everywhere(number: signal.Signals) -> None:
    with Signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert signals.asked
        assert not signals.now
        with pytest.raises(KeyboardInterrupt), signals.watched():
            signal.raise_signal(signal.SIGTERM)
        assert signals.now


def test_the_first_waits_for_who_looks() -> None:
    with Signals() as signals, signals.watched():
        assert not signals.asked
        signal.raise_signal(signal.SIGINT)
        assert signals.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Signals():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_takes_none() -> None:
    entered: list[bool] = []

    def enter() -> None:
        with Signals() as signals:
            entered.append(signals.asked)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [False]
