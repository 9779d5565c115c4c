"""What takes the room in a run's folder."""

from __future__ import annotations

from raysearch.storage.files import sizes
from raysearch.storage.place import Place

_SHOWN = 4  # entries by name; the rest is one


def room(folder: Place) -> dict[str, int]:
    """The bytes of each entry of a folder with all that is in it, the largest first."""
    return dict(sorted(sizes(folder).items(), key=lambda entry: -entry[1]))


def room_text(folder: Place) -> str:
    """One sentence: how much a run's folder holds, and what takes it."""
    entries = room(folder)
    shown = [f"{name} {_mb(size)}" for name, size in list(entries.items())[:_SHOWN] if size]
    return f"The run's folder holds {_mb(sum(entries.values()))}: {', '.join(shown)}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
