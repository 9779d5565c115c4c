"""Train, validation and test splits, made once by seed, and what all image data have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from raysearch.basics.failures import UserError

Images = Dataset[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets of (image, class), images float32 and normalised, with the classes' names."""

    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train[0][0].shape
        return int(channels), int(height), int(width)


def stratified(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of two parts with the classes in equal proportion, both in random order.

    Args:
        labels: the class of each example, (n,).
        share: of each class that goes to the second part, in (0, 1); at least one example of each class that
            has two.
        seed: the same seed gives the same parts.

    Raises:
        ValueError: the share is not in (0, 1), or either part is left empty.
    """
    if not 0 < share < 1:
        raise UserError(f"a split's share is {share}, not in (0, 1)")
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed is {seed!r}: give a whole number of at least 0")
    random = np.random.default_rng(seed)
    first, second = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = max(1, round(share * len(members))) if len(members) > 1 else 0
        second.append(members[:count])
        first.append(members[count:])
    parts = tuple(random.permutation(np.concatenate(p)) for p in (first, second))
    if not len(parts[1]):
        raise UserError(f"{len(labels)} examples cannot be split: no class has two of them")
    return parts[0], parts[1]


def make_splits(
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]] | None,
    *,
    classes: tuple[str, ...],
    seed: int,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    white: float = 255,
) -> Splits:
    """Split, scale and normalise arrays of images.

    Args:
        train: images (n, h, w) or (n, h, w, channels), and classes (n,).
        test: the same; None takes a share of ``train``.
        classes: the names of the classes.
        seed: decides the split.
        validation_share: of the training examples, for comparing trials.
        test_share: of all examples, where ``test`` is None.
        white: the value of a white pixel.

    Raises:
        ValueError: images and classes do not fit each other.
    """
    x, y = _images(*train, len(classes))
    if test is None:
        rest, held_out = stratified(y.numpy(), test_share, seed)
        x_test, y_test = x[held_out], y[held_out]
        x, y = x[rest], y[rest]
    else:
        x_test, y_test = _images(*test, len(classes))
    inside, validation = stratified(y.numpy(), validation_share, seed + 1)
    mean, std = _statistics(x[inside] / white)
    parts = ((x[inside], y[inside]), (x[validation], y[validation]), (x_test, y_test))
    train_set, validation_set, test_set = (
        cast(Images, TensorDataset((images / white - mean) / std, labels)) for images, labels in parts
    )
    return Splits(train_set, validation_set, test_set, classes)


def _images(images: NDArray[np.uint8], labels: NDArray[np.int64], classes: int) -> tuple[Tensor, Tensor]:
    if images.ndim not in (3, 4) or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(
            f"images of shape {images.shape} and classes of shape {labels.shape} do not fit: "
            "expected (n, h, w) or (n, h, w, channels), and (n,)"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(f"classes go from {labels.min()} to {labels.max()}, and there are {classes} names")
    x = torch.from_numpy(np.array(images)).float()
    x = x.unsqueeze(1) if images.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()
    return x, torch.from_numpy(labels.astype(np.int64))


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, shape (1, channels, 1, 1)."""
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    return mean, x.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
