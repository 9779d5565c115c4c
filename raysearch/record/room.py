"""What takes the room in a run's folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_SHOWN = 4  # entries by name; the rest is one


def room(folder: Path) -> dict[str, int]:
    """The bytes of each entry of a folder with all that is in it, the largest first."""
    sizes = {path.name: _size(path) for path in folder.iterdir()}
    return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))


def room_text(folder: Path) -> str:
    """One sentence: how much a run's folder holds, and what takes it."""
    sizes = room(folder)
    shown = [f"{name} {_mb(size)}" for name, size in list(sizes.items())[:_SHOWN] if size]
    return f"The run's folder holds {_mb(sum(sizes.values()))}: {', '.join(shown)}"


def _size(path: Path) -> int:
    size = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        with suppress(FileNotFoundError):  # a run at work has just removed it
            size += 0 if file.is_dir() else file.stat().st_size
    return size


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
