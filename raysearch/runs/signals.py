"""Ctrl-C, and SIGTERM as the same: the first ends a run cleanly, the second now."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Counts the signals that ask a run to end, while it is entered; only the main thread can take them.

    Each raises KeyboardInterrupt, but for the first one while somebody looks at ``asked`` from time to time.
    """

    def __init__(self) -> None:
        self._count = 0
        self._watched = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether the run is to end."""
        return self._count > 0

    @property
    def now(self) -> bool:
        """Whether it is to end at once: without a report, and without waiting for anybody."""
        return self._count > 1

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks at ``asked``, and ends cleanly."""
        self._watched = True
        try:
            yield
        finally:
            self._watched = False

    def __enter__(self) -> Signals:
        """Take the signals; to be called after Ray has begun, which takes SIGTERM for itself."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in _ENDING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back to who had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self.now or not self._watched:
            raise KeyboardInterrupt
