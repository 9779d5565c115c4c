"""Waiting for storage: what may pass is tried again for a while, and whoever watches is told.

What may pass: no room, no answer, a server's error. What will not (no such bucket, access denied) is refused
at once.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from raysearch.basics.disk import StorageError, is_full
from raysearch.basics.failures import first_line
from raysearch.storage.place import Place

T = TypeVar("T")

PATIENCE_S = 300.0
"""For how long what may pass is tried again."""

_PAUSES_S = (0.2, 15.0)  # the first, which doubles, and the longest
_LOOK_S = 0.2  # between looks whether the end is asked for
_HURRIED_S = 5.0  # for how long it is tried again then
_SAID_AFTER_S = 1.0  # a single error of a server is nobody's concern
_PASSING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EREMOTEIO,
    errno.EBUSY,
    errno.EAGAIN,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}
_CLIENTS = (
    "aiobotocore.",
    "aiohttp.",
    "botocore.",
    "fsspec.",
    "gcsfs.",
    "google.api_core.",
    "google.auth.",
    "requests.",
    "urllib3.",
)
# Of these libraries' errors those that stay: nobody's credentials appear while one waits.
_STAYING = ("Credential", "Validation", "InvalidRegion", "NoRegion", "InvalidURL", "NonRetryable")
_RETRIED_HTTP = (408, 429)


def _print(text: str) -> None:
    if text:
        print(f"raysearch: {text}", file=sys.stderr, flush=True)


_told: Callable[[str], None] = _print


@contextlib.contextmanager
def telling(say: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, ``say`` is told what this process waits for; an empty text: it waits no longer."""
    global _told
    before, _told = _told, say
    try:
        yield
    finally:
        _told = before


def say(text: str) -> None:
    """Tell whoever watches this process what it waits for; an empty text: it waits no longer."""
    _told(text)


@contextlib.contextmanager
def impatiently() -> Iterator[None]:
    """While it lasts, nothing is tried again: it was in vain already."""
    global PATIENCE_S
    before, PATIENCE_S = PATIENCE_S, 0.0
    try:
        yield
    finally:
        PATIENCE_S = before


def _nobody() -> bool:
    return False


_asked: Callable[[], bool] = _nobody


@contextlib.contextmanager
def hurried(asked: Callable[[], bool]) -> Iterator[None]:
    """While it lasts, what is waited for is given up within seconds once ``asked`` says to end."""
    global _asked
    before, _asked = _asked, asked
    try:
        yield
    finally:
        _asked = before


def patiently(place: Place, work: Callable[[], T], *, missing_too: bool = False) -> T:
    """Do what storage may refuse for a while, again and again until it is done.

    Args:
        place: what it is done with.
        work: may be done several times.
        missing_too: a FileNotFoundError means that there is no such storage, not that a file is missing.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: it cannot be done, or not within ``PATIENCE_S``; see ``hurried`` too.
    """
    began, (pause, longest), said = time.monotonic(), _PAUSES_S, False
    while True:
        try:
            done = work()
            break
        except Exception as error:
            if isinstance(error, StorageError) or not is_trouble(error):
                raise
            if isinstance(error, FileNotFoundError) and not missing_too:
                raise
            waited = time.monotonic() - began
            patience = min(PATIENCE_S, _HURRIED_S) if _asked() else PATIENCE_S
            if not may_pass(error) or waited >= patience:
                raise StorageError(_cannot(place, error, waited)) from error
            if waited >= _SAID_AFTER_S:
                say(f"waiting for {place}: {reason_of(error)}")
                said = True
        _rest(pause)
        pause = min(2 * pause, longest)
    if said:
        say("")
    return done


def _rest(seconds: float) -> None:
    """Sleep, but not on when the end is asked for meanwhile."""
    asked = _asked()
    while seconds > 0 and _asked() == asked:
        time.sleep(min(seconds, _LOOK_S))
        seconds -= _LOOK_S


def is_trouble(error: BaseException) -> bool:
    """Whether an error comes from where things are stored; others are faults of the program."""
    return _is_clients(error) or isinstance(error, OSError) or is_full(error)


def _is_clients(error: BaseException) -> bool:
    return type(error).__module__.startswith(_CLIENTS)


def may_pass(error: BaseException) -> bool:
    """Whether what has failed may succeed in a while: no room, no answer, a server's error."""
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError):
        return False
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if any(word in type(error).__name__ for word in _STAYING):
        return False
    code = getattr(error, "code", None)  # of a gcsfs.retry.HttpError
    if isinstance(code, int | str) and str(code).isdigit():
        return int(code) >= 500 or int(code) in _RETRIED_HTTP
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _PASSING
    return _is_clients(error) or is_full(error)


def reason_of(error: BaseException) -> str:
    """What storage says, in a line."""
    return (isinstance(error, OSError) and error.strerror) or first_line(error)


def _cannot(place: Place, error: BaseException, waited: float) -> str:
    tried = f" (tried for {waited:.0f} s)" if waited >= _SAID_AFTER_S else ""
    if isinstance(place, Path):
        return f"{place} cannot be written: {reason_of(error)}{tried}"
    no_bucket = isinstance(error, FileNotFoundError)
    return f"{place} cannot be used: {'its bucket does not exist' if no_bucket else reason_of(error)}{tried}"
