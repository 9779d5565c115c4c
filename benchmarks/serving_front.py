"""A front to serve, made in seconds: networks of several widths on scikit-learn's digits, with real accuracies.

Their convolutions keep the weights that they were drawn with, and the last layer is fitted by ridge regression on
what they give: the wider a network, the more features it has, and the better and slower it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from torch import nn

from raysearch.networks.capture import capture
from raysearch.serving.variants import Servable
from raysearch.trainables.export import export_onnx

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 192)
SIDE = 32
_TRAINED = 600


def examples() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All digits as (n, 1, 32, 32) in [0, 1], in an order that was drawn once, and what they are."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    small = torch.tensor(images[order].reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    large = nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    return large.numpy(), labels[order].astype(np.int64)


def held_out() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Those that nothing was fitted on."""
    images, labels = examples()
    return images[_TRAINED:], labels[_TRAINED:]


def make_front(folder: Path, widths: tuple[int, ...] = WIDTHS) -> list[Servable]:
    """Networks of several widths as ONNX files, with their accuracy on what was held out.

    Args:
        folder: made where it is missing; a file each.
        widths: of the first layer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = examples()
    found = []
    for width in widths:
        network, file = _fitted(width, images, labels), folder / f"width{width}.onnx"
        with torch.no_grad():
            given = network(torch.from_numpy(images[_TRAINED:])).argmax(1).numpy()
            export_onnx(capture(network, torch.zeros(2, 1, SIDE, SIDE)), file)
        found.append(Servable(file.stem, file, float((given == labels[_TRAINED:]).mean())))
    return found


def _fitted(width: int, images: NDArray[np.float32], labels: NDArray[np.int64]) -> nn.Module:
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(8),
        nn.Flatten(),
    ).eval()
    with torch.no_grad():
        known = features(torch.from_numpy(images[:_TRAINED])).numpy()
    scale = float(known.std())
    ridge = RidgeClassifier(alpha=0.1).fit(known / scale, labels[:_TRAINED])
    head = nn.Linear(known.shape[1], 10)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(ridge.coef_ / scale, dtype=torch.float32))
        head.bias.copy_(torch.tensor(ridge.intercept_, dtype=torch.float32))
    return nn.Sequential(features, head).eval()
