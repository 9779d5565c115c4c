"""Where what is worth keeping between runs is kept: ``~/.cache/raysearch``, or as RAYSEARCH_CACHE says."""

from __future__ import annotations

import os
from pathlib import Path

_VARIABLE = "RAYSEARCH_CACHE"


def cache_folder() -> Path | None:
    """The folder, which need not be there yet; None where RAYSEARCH_CACHE is empty: nothing is kept then."""
    given = os.environ.get(_VARIABLE)
    if given == "":
        return None
    if given is not None:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "raysearch"
