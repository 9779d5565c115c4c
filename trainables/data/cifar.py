"""CIFAR-10 from a NumPy archive, or from torchvision's folder."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from raysearch.basics.failures import UserError
from raysearch.trainables.data.download import torchvision_datasets
from raysearch.trainables.data.splits import Splits, make_splits

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_KEYS = ("x_train", "y_train", "x_test", "y_test")
_PADDING = 4

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def cifar10_images(folder: str | Path, *, download: bool = False, seed: int = 0) -> Splits:
    """Splits of CIFAR-10 or a subset of it.

    Args:
        folder: a folder with one .npz archive of x_train (n, 32, 32, 3) uint8, y_train (n,), x_test, y_test;
            or the archive itself; or torchvision's folder, which holds "cifar-10-batches-py".
        download: let torchvision fetch the data where they are missing.
        seed: decides which tenth of the training examples is for validation.

    Raises:
        ValueError: nothing of this is there, or the archive lacks an array.
    """
    folder = Path(folder).expanduser()
    archives = [folder] if folder.suffix == ".npz" else sorted(folder.glob("*.npz"))
    if len(archives) > 1:
        raise UserError(f"{folder} has {len(archives)} .npz archives: name one of them")
    if archives and archives[0].is_file():
        train, test = _read_archive(archives[0])
    elif download or (folder / "cifar-10-batches-py").is_dir():
        cifar = torchvision_datasets().CIFAR10
        train, test = (_arrays(cifar(str(folder), train=part, download=download)) for part in (True, False))
    else:
        raise UserError(
            f"{folder} has neither an .npz archive nor cifar-10-batches-py: set download to fetch the data"
        )
    return make_splits(train, test, classes=CLASSES, seed=seed)


def _read_archive(path: Path) -> tuple[Arrays, Arrays]:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no NumPy archive (.npz)")
    with np.load(path, allow_pickle=False) as archive:
        missing = [key for key in _KEYS if key not in archive]
        if missing:
            raise UserError(f"{path} has no array {missing[0]!r}: it needs {', '.join(_KEYS)}")
        x_train, y_train, x_test, y_test = (archive[key] for key in _KEYS)
    return (x_train, y_train.astype(np.int64)), (x_test, y_test.astype(np.int64))


def _arrays(dataset: Any) -> Arrays:
    return np.asarray(dataset.data, np.uint8), np.asarray(dataset.targets, np.int64)


def crop_and_flip(images: Tensor) -> Tensor:
    """Shift each image by up to 4 pixels, padding with zeros, and mirror half of them.

    The usual augmentation for CIFAR (He et al., CVPR 2016); draws from torch's generator.

    Args:
        images: (n, channels, height, width), normalised.

    Returns:
        The same shape.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, (_PADDING,) * 4)
    top, left = (torch.randint(0, 2 * _PADDING + 1, (n, 1), device=images.device) for _ in range(2))
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    mirrored = torch.rand(n, 1, device=images.device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(n, device=images.device)[:, None, None]
    # Advanced indices around a slice put the channels last.
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
