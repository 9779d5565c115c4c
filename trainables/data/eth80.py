"""ETH-80: objects photographed from 12 sides, split by object so that each is tested once.

References:
    Leibe, B., & Schiele, B. (2003). Analyzing appearance and contour based methods for object categorization.
    CVPR.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from raysearch.basics.failures import UserError
from raysearch.trainables.data.splits import Images, Splits

_ARRAYS = ("x", "y", "classes")


@dataclass(frozen=True)
class Views:
    """Objects seen from several sides.

    Attributes:
        images: in [0, 1], shape (objects, views, channels, height, width), float32.
        labels: the class of each object, shape (objects,).
        classes: the classes' names.
    """

    images: torch.Tensor
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def eth80(path: str | Path, size: int = 32) -> Views:
    """Read ``eth80_ring12.npz``: 80 objects of 8 classes, 12 views of 64 x 64.

    Args:
        path: the file, with "x" (objects, views, h, w, 3) of bytes, "y" and "classes".
        size: images are averaged over blocks down to ``size`` x ``size``; it must divide their size.

    Raises:
        ValueError: no such file, another content, or a size that does not divide the images'.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the file eth80_ring12.npz")
    try:
        with np.load(path) as file:
            x, y, classes = (file[name] for name in _ARRAYS)
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no file of views with the arrays {', '.join(_ARRAYS)}: {error}"
        ) from error
    if x.ndim != 5 or x.shape[2] != x.shape[3] or x.shape[0] != len(y):
        raise UserError(
            f"{path} has x of shape {x.shape} and {len(y)} labels: expected (objects, views, h, h, 3)"
        )
    if size < 1 or x.shape[2] % size:
        raise UserError(f"size is {size}: it must divide the images' size, {x.shape[2]}")
    block = x.shape[2] // size
    small = x.reshape(*x.shape[:2], size, block, size, block, x.shape[4]).mean(axis=(3, 5), dtype=np.float32)
    images = torch.from_numpy(np.ascontiguousarray(small.transpose(0, 1, 4, 2, 3))) / 255
    return Views(images, y.astype(np.int64), tuple(str(name) for name in classes))


def fold(views: Views, index: int, folds: int = 5, seed: int = 0) -> Splits:
    """One of several splits by object, with each class in equal proportion.

    Over all folds each object is tested once, and is once in the validation split.

    Args:
        views: all objects.
        index: which fold, from 0 on; the next one is the validation split, the others train.
        folds: how many, at least 3 and at most as many as a class has objects.
        seed: the same seed gives the same folds.

    Returns:
        Views (views, channels, h, w) normalised by the training objects' mean and deviation of each channel.

    Raises:
        ValueError: no such fold, or too few or too many folds.
    """
    most = int(np.bincount(views.labels).min())
    if not 3 <= folds <= most or not 0 <= index < folds:
        raise UserError(f"fold {index} of {folds}: give 3 to {most} folds, counted from 0")
    from sklearn.model_selection import StratifiedKFold

    divided = StratifiedKFold(folds, shuffle=True, random_state=seed).split(views.labels, views.labels)
    parts = [part for _, part in divided]
    test, validation = parts[index], parts[(index + 1) % folds]
    train = np.setdiff1d(np.arange(len(views.labels)), np.concatenate([test, validation]))
    mean = views.images[train].mean(dim=(0, 1, 3, 4), keepdim=True)[0]
    std = views.images[train].std(dim=(0, 1, 3, 4), keepdim=True)[0].clamp_min(1e-6)
    labels = torch.from_numpy(views.labels)
    train_set, validation_set, test_set = (
        cast(Images, TensorDataset((views.images[part] - mean) / std, labels[part]))
        for part in (train, validation, test)
    )
    return Splits(train_set, validation_set, test_set, views.classes)
