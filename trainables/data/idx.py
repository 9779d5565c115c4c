"""MNIST and Fashion-MNIST from their idx files, plain or gzipped.

The format: two zero bytes, the type (8 for unsigned bytes), the number of dimensions, each dimension as a
big-endian 32-bit number, then the bytes.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError
from raysearch.trainables.data.download import torchvision_datasets
from raysearch.trainables.data.splits import Splits, make_splits

MNIST_CLASSES = tuple("0123456789")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip
_FILES = {"train": "train-{kind}-idx{n}-ubyte", "test": "t10k-{kind}-idx{n}-ubyte"}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an idx file of bytes.

    Raises:
        ValueError: the file is damaged or no idx file of bytes.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {error}") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise UserError(f"{path} is no idx file of unsigned bytes")
    start = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    if len(data) - start != np.prod(shape):
        raise UserError(f"{path} says shape {shape}, but holds {len(data) - start} bytes: it is cut short")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def idx_images(
    folder: str | Path, name: str, classes: tuple[str, ...], *, download: bool = False, seed: int = 0
) -> Splits:
    """Splits from the four idx files in ``folder``, or in torchvision's ``folder/<name>/raw``.

    Args:
        folder: where the files are, each plain or with ".gz".
        name: torchvision's class, "MNIST" or "FashionMNIST".
        classes: the names of the classes.
        download: let torchvision fetch the files where they are missing.
        seed: decides which tenth of the training examples is for validation.

    Raises:
        ValueError: a file is missing or damaged.
    """
    folder = Path(folder).expanduser()
    if download and not _complete(folder, name):
        getattr(torchvision_datasets(), name)(str(folder), download=True)
    train, test = (
        (read_idx(_find(folder, name, split, "images", 3)), _labels(_find(folder, name, split, "labels", 1)))
        for split in ("train", "test")
    )
    return make_splits(train, test, classes=classes, seed=seed)


def _labels(path: Path) -> NDArray[np.int64]:
    return read_idx(path).astype(np.int64)


def _complete(folder: Path, name: str) -> bool:
    try:
        for split in _FILES:
            _find(folder, name, split, "images", 3)
            _find(folder, name, split, "labels", 1)
    except ValueError:
        return False
    return True


def _find(folder: Path, name: str, split: str, kind: str, dimensions: int) -> Path:
    file = _FILES[split].format(kind=kind, n=dimensions)
    for place in (folder, folder / name / "raw"):
        for path in (place / file, place / f"{file}.gz"):
            if path.is_file():
                return path
    raise UserError(f"{folder} has no {file}, plain or .gz, nor has its {name}/raw: set download to fetch it")
