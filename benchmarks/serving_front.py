"""A front to serve, made in seconds: networks of several widths on noisy digits, with real accuracies.

Their convolutions keep the weights that they were drawn with, and the last layer is fitted by ridge
regression on what they give: the wider a network, the more features it has, and the better and slower it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifierCV
from torch import nn

from raysearch.networks.capture import capture
from raysearch.serving.variants import Servable
from raysearch.trainables.export import export_onnx

WIDTHS = (8, 16, 32, 64, 128, 256)
SIDE = 32
_TRAINED, _HELD_OUT, _NOISE = 1000, 600, 0.3


def examples() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Digits as (n, 1, 32, 32), enlarged and noisy, in an order drawn once, and what they are."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))[: _TRAINED + _HELD_OUT]
    small = torch.tensor(images[order].reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    large = nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear")
    noisy = large.numpy() + _NOISE * rng.standard_normal(large.shape, dtype=np.float32)
    return noisy, labels[order].astype(np.int64)


def held_out() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Those that nothing was fitted on."""
    images, labels = examples()
    return images[_TRAINED:], labels[_TRAINED:]


def make_front(folder: Path, widths: tuple[int, ...] = WIDTHS) -> list[Servable]:
    """Networks of several widths as ONNX files, with their accuracy on what was held out.

    Args:
        folder: made where it is missing; it can be served.
        widths: of the first layer.
    """
    images, labels = examples()
    found = []
    for width in widths:
        network, file = _fitted(width, images, labels), folder / f"width{width}" / "model.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            given = network(torch.from_numpy(images[_TRAINED:])).argmax(1).numpy()
            export_onnx(capture(network, torch.zeros(2, 1, SIDE, SIDE)), file)
        found.append(Servable(f"width{width}", file, float((given == labels[_TRAINED:]).mean())))
    write_table(folder, found)
    return found


def write_table(folder: Path, variants: Sequence[Servable]) -> None:
    """The table that makes a folder of variants a front, as ``StudyResult.export`` leaves it."""
    rows = [{"trial": v.name, "accuracy": v.quality} for v in sorted(variants, key=lambda v: -v.quality)]
    pd.DataFrame(rows).to_csv(folder / "front.csv", index=False)


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
    ridge = RidgeClassifierCV(np.logspace(-2, 4, 7)).fit(known / scale, labels[:_TRAINED])
    head = nn.Linear(known.shape[1], 10)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(ridge.coef_ / scale, dtype=torch.float32))
        head.bias.copy_(torch.tensor(ridge.intercept_, dtype=torch.float32))
    return nn.Sequential(features, head).eval()
