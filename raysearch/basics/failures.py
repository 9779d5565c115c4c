"""What went wrong: the classes of failures that are told in a sentence, and any failure in one line.

All others are faults of the program: nobody swallows them, and they keep their traceback.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_HERE = Path(__file__).parents[1]


class UserError(ValueError):
    """Bad input, in one sentence that names the field, the value and what would be right."""


class MissingFile(FileNotFoundError, UserError):
    """A file or folder that a user named is not there."""


class RunError(RuntimeError):
    """A run that cannot go on, in one sentence that says why; what it has done is kept."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type: runtimes append stack traces to theirs."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def failure(error: BaseException) -> str:
    """An error's type, the first line of its text, and the line of a user's code that led to it.

    Of Ray's error of a task they are those of what was raised in its worker.
    """
    cause = getattr(error, "cause", None)
    error = cause if isinstance(cause, BaseException) else error
    name, text = type(error).__name__, first_line(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_library(Path(f.filename))]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return (text if text == name else f"{name}: {text}") + place


def attempt(work: Callable[[], T], what: str) -> T:
    """Do a piece of a user's own work.

    Raises:
        UserError: it fails; in one sentence, that begins with what was done.
    """
    try:
        return work()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} fails: {failure(error)}") from error


def traceback_of(error: BaseException) -> str:
    """An error's whole traceback as text; Ray's error of a task holds the one of its worker."""
    remote = getattr(error, "traceback_str", None)
    return str(remote) if remote else "".join(traceback.format_exception(error))


def _is_library(file: Path) -> bool:
    """Whether code is raysearch's own, an installed package's, or Python's."""
    libraries = (_HERE, *(Path(sysconfig.get_path(p)) for p in ("stdlib", "purelib")))
    wings = (_HERE / wing for wing in ("search_spaces", "trainables", "backends"))
    return any(file.resolve().is_relative_to(place.resolve()) for place in (*libraries, *wings))
