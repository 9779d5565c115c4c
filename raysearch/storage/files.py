"""Files and folders of a run, read and written alike wherever they are."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from raysearch.basics.disk import StorageError, storing
from raysearch.basics.failures import MissingFile
from raysearch.storage.place import Place
from raysearch.storage.waiting import patiently


def read(place: Place) -> bytes:
    """All of a file.

    Raises:
        FileNotFoundError: there is none.
        StorageError: it cannot be read.
    """
    return read_once(place) if isinstance(place, Path) else patiently(place, lambda: read_once(place))


def read_once(place: Place) -> bytes:
    """As ``read``, with whatever error storage has at the first try."""
    if not isinstance(place, Path):
        return bytes(place.system.cat_file(place.key))
    try:
        return place.read_bytes()
    except NotADirectoryError as error:  # what it would lie in is a file
        raise FileNotFoundError(str(place)) from error


def exists(place: Place) -> bool:
    """Whether there is such a file, or a folder that holds one."""
    if isinstance(place, Path):
        return place.exists()
    try:
        patiently(place, lambda: place.system.info(place.key))
    except FileNotFoundError:
        return False
    return True


def names(place: Place) -> list[str]:
    """What a folder holds, sorted; nothing where there is none."""
    if isinstance(place, Path):
        return sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []
    try:
        found = patiently(place, lambda: place.system.ls(place.key, detail=False))
    except FileNotFoundError:
        return []
    within = f"{place.key}/"
    inside = (key.strip("/") for key in found)
    return sorted(k.removeprefix(within) for k in inside if k.startswith(within))


def sizes(place: Place) -> dict[str, int]:
    """The bytes of each entry of a folder with all that is in it."""
    if isinstance(place, Path):
        return {entry.name: _size_here(entry) for entry in place.iterdir()}
    found: dict[str, int] = {}
    files = patiently(place, lambda: place.system.find(place.key, detail=True))
    for key, said in files.items():
        name = key.strip("/").removeprefix(f"{place.key}/").partition("/")[0]
        found[name] = found.get(name, 0) + int(said["size"])
    return found


def _size_here(path: Path) -> int:
    size = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        with contextlib.suppress(FileNotFoundError):  # a run at work has just removed it
            size += 0 if file.is_dir() else file.stat().st_size
    return size


@contextlib.contextmanager
def fetched(place: Place) -> Iterator[Path]:
    """A file or a folder as a path of this machine: itself, or a copy while it lasts.

    Raises:
        MissingFile: there is none.
        StorageError: it cannot be read.
    """
    if isinstance(place, Path):
        if not place.exists():
            raise MissingFile(f"{place} is missing")
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-") as here:
        found = patiently(place, lambda: place.system.find(place.key))
        if not found:
            raise MissingFile(f"{place} is missing")
        local = Path(here) / place.name
        for key in found:
            inside = key.strip("/").removeprefix(place.key).strip("/")
            file = local / inside if inside else local
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(read(place / inside if inside else place))
        yield local


def write(place: Place, data: bytes | str, *, aside: Place | None = None) -> None:
    """Write a file whole: after a crash there is the former one, or this one.

    Args:
        place: the file; the folders that it lies in are made.
        data: its content; text is in UTF-8.
        aside: the folder of a disk where it is written before it takes its place; its own if left out.

    Raises:
        StorageError: it cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    folder = place.parent if isinstance(place, Path) else place
    patiently(folder, lambda: write_once(place, content, aside), missing_too=True)


def write_once(place: Place, data: bytes, aside: Place | None = None) -> None:
    """As ``write``, with whatever error storage has at the first try."""
    if isinstance(place, Path):
        _write_here(place, data, aside)
    else:
        place.system.pipe_file(place.key, data)


def _write_here(path: Path, data: bytes, aside: Place | None) -> None:
    part = _part(path, aside)
    for folder in (path.parent, part.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path, aside: Place | None) -> Path:
    """Where a file or a folder is made before it is moved to its place.

    The name is this process's own: after an interruption an old actor may still be saving the same trial
    while the resumed one does.
    """
    folder = aside if isinstance(aside, Path) else path.parent
    return folder / f"{path.name}.{os.getpid()}.part"


@contextlib.contextmanager
def staged(place: Place, *, aside: Place | None = None, last: str = "") -> Iterator[Path]:
    """An empty folder of this machine, whose files take the place of what is there when it ends well.

    Args:
        place: the folder that they go to.
        aside: see ``write``.
        last: the file that says that the folder is whole: where files are put one by one, it comes last.

    Raises:
        StorageError: they cannot be written.
    """
    if isinstance(place, Path):
        part = _part(place, aside)
        shutil.rmtree(part, ignore_errors=True)
        with storing(part.parent):
            part.mkdir(parents=True)
        yield part
        with storing(place.parent):
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, place)
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-") as here:
        yield Path(here)
        files = [file for file in Path(here).rglob("*") if file.is_file()]
        remove(place)
        for file in sorted(files, key=lambda f: (f.name == last, f)):
            write(place / file.relative_to(here), file.read_bytes())


def remove(place: Place) -> None:
    """Remove a file or a folder with all that it holds; what cannot be removed stays."""
    if isinstance(place, Path):
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError, StorageError):
        patiently(place, lambda: place.system.rm(place.key, recursive=True))
