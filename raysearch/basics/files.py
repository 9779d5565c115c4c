"""Reading the files that a user names."""

from __future__ import annotations

from pathlib import Path

from raysearch.basics.failures import MissingFile, UserError

WEIGHTS = (".pth", ".pt", ".safetensors")
"""The suffixes of files of trained weights."""


def read_text(path: Path, what: str) -> str:
    """The text of a file.

    Args:
        path: as the user gave it.
        what: what to call it in messages ("study file").

    Raises:
        MissingFile: there is no such file.
        UserError: it is a folder, may not be read, or is no text in UTF-8.
    """
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder: give a file")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFile(f"{what} {path} does not exist") from None
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is no text in UTF-8: {error.reason} at byte {error.start}") from None
