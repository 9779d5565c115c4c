"""Images in one folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.trainables.data.splits import Splits, make_splits

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp")


def folder_images(folder: str | Path, *, size: int = 64, seed: int = 0) -> Splits:
    """Splits of ``folder/<class>/*.png``, or of ``folder/train`` and ``folder/test`` of this form.

    Without a test folder, 20 % of each class are held out for testing.
    All images are held in memory, 12 x size x size bytes each.

    Args:
        folder: what holds the classes, or "train" and "test".
        size: images are scaled so that the shorter side has this many pixels, and cut to a square.
        seed: decides the split.

    Raises:
        ValueError: the folder is missing, has fewer than two classes, or a class has no image.
    """
    folder = Path(folder).expanduser()
    if size < 1:
        raise UserError(f"size is {size}: it must be at least 1")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder")
    split = (folder / "train").is_dir() and (folder / "test").is_dir()
    classes = _classes(folder / "train" if split else folder)
    train = _read(folder / "train" if split else folder, classes, size)
    test = _read(folder / "test", classes, size) if split else None
    return make_splits(train, test, classes=classes, seed=seed)


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        raise UserError(f"{folder} holds {len(names)} folders: give one for each of at least two classes")
    return names


def _read(folder: Path, classes: tuple[str, ...], size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = [], []
    for label, name in enumerate(classes):
        place = folder / name
        files = sorted(p for p in place.glob("*") if p.suffix.lower() in SUFFIXES)
        if not files:
            raise UserError(f"{place} has no image ({', '.join(SUFFIXES)})")
        images += [_open(path, size) for path in files]
        labels += [label] * len(files)
    return np.stack(images), np.array(labels, np.int64)


def _open(path: Path, size: int) -> NDArray[np.uint8]:
    pillow = _pillow()
    try:
        with pillow.Image.open(path) as image:
            square = pillow.ImageOps.fit(image.convert("RGB"), (size, size), pillow.Image.Resampling.BILINEAR)
    except OSError as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from error
    return np.asarray(square, np.uint8)


def _pillow() -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise UserError('reading image files needs Pillow: pip install "raysearch[vision]"') from error
    return PIL
