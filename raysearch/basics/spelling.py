"""The nearest known word, for error messages about a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 24  # of a longer list (a module's names, torchvision's models) the rest is counted


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like ``word``: one that it begins, else the closest; None where none is near."""
    words = list(known)
    begun = [w for w in words if len(word) > 2 and w.startswith(word)]
    return next(iter(begun or difflib.get_close_matches(word, words, n=1, cutoff=0.5)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error sentence: "did you mean X? (known: ...)", or just what is known."""
    words = list(known)
    near = nearest(word, words)
    listed = ", ".join(words[:_LISTED]) or "none"
    if len(words) > _LISTED:
        listed += f" and {len(words) - _LISTED} more"
    return f"did you mean {near!r}? (known: {listed})" if near else f"known: {listed}"
