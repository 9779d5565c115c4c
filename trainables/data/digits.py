"""Scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, part of the package itself."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from raysearch.trainables.data.splits import Splits, make_splits


def digits(seed: int = 0) -> Splits:
    """The digits, 60 % for training, 20 % for validation, 20 % for testing, stratified."""
    images, labels = load_digits(return_X_y=True)
    return make_splits(
        (images.reshape(-1, 8, 8).astype(np.uint8), labels),
        None,
        classes=tuple("0123456789"),
        seed=seed,
        validation_share=0.25,
        white=16,
    )
