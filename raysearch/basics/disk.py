"""What cannot be stored: a full disk is told in one sentence, and is not a trial's failure."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from raysearch.basics.failures import RunError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Libraries in C++ and Rust raise errors of their own: they hold the system's words, or torch's.
_WORDS = (*map(os.strerror, _FULL), "iostream error")


class StorageError(RunError):
    """A folder cannot be used: its disk is full, a limit is reached, it may not be, or nothing answers."""


@contextlib.contextmanager
def storing(folder: object) -> Iterator[None]:
    """What is written into a folder while it lasts is there afterwards, or the folder is named.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    except Exception as error:
        if not is_full(error):
            raise
        raise StorageError(f"{folder} cannot be written: no room is left there") from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that there is no room on a disk.

    A ``RunError`` of another kind does not, whatever was being handled when it came: it says itself why.
    """
    if error is None or (isinstance(error, RunError) and not isinstance(error, StorageError)):
        return False
    known = isinstance(error, StorageError) or getattr(error, "errno", None) in _FULL
    return known or any(w in str(error) for w in _WORDS) or is_full(error.__cause__ or error.__context__)
