"""The tracebacks of a run's failures: a file each in the run's folder, named by the journal's events."""

from __future__ import annotations

from pathlib import Path

from raysearch.basics.disk import storing

FOLDER = "failures"


def keep_traceback(run: Path, trial: str, text: str) -> str:
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
    file = Path(FOLDER) / f"{trial}.txt"
    with storing(run):
        (run / FOLDER).mkdir(exist_ok=True)
        (run / file).write_text(text.rstrip() + "\n", encoding="utf-8")
    return file.as_posix()
