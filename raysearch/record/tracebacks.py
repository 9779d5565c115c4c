"""The tracebacks of a run's failures: a file each in the run's folder, named by the journal's events."""

from __future__ import annotations

from pathlib import PurePosixPath

from raysearch import storage
from raysearch.storage import Place

FOLDER = "failures"


def keep_traceback(run: Place, trial: str, text: str) -> str:
    """Write the traceback of a trial's failure; a later one of the same trial takes its place.

    Args:
        run: the run's folder.
        trial: its name.
        text: the whole traceback.

    Returns:
        The file's path within the run's folder, "failures/0007.txt"; empty where there is no text.

    Raises:
        StorageError: it cannot be written.
    """
    if not text:
        return ""
    file = PurePosixPath(FOLDER) / f"{trial}.txt"
    storage.write(run / FOLDER / file.name, text.rstrip() + "\n")
    return str(file)
