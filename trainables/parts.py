"""How far a metric would be another on other examples: its values on parts of the split.

Two networks that are compared on the same examples find the same ones hard, so the noise of their difference
is less than that of each: it is read from the differences of the parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from raysearch.networks.nests import batch_size, map_tensors, tensors
from raysearch.trainables.data.batches import Batch
from raysearch.trainables.evaluation import Metric, score

PARTS = 10
_LEAST = 5  # examples of a part


def in_parts(predicted: Sequence[Batch], metrics: Mapping[str, Metric]) -> dict[str, list[float]]:
    """Each metric on ten parts of all examples, the k-th of them every tenth example from the k-th on.

    Args:
        predicted: batches of (outputs, targets).
        metrics: by name.

    Returns:
        By name, ten values; without a metric that has no finite value on each part, and none at all where
        there are fewer than 50 examples or a batch cannot be divided.
    """
    if not all(map(_is_divisible, predicted)) or sum(map(batch_size, predicted)) < PARTS * _LEAST:
        return {}
    found: dict[str, list[float]] = {}
    for name, metric in metrics.items():
        try:
            values = [score(_part(predicted, k), {name: metric})[name] for k in range(PARTS)]
        except Exception:  # a metric of the user's that a few examples are too few for
            continue
        if all(map(math.isfinite, values)):
            found[name] = values
    return found


def standard_error(own: Sequence[float], other: Sequence[float] | None = None) -> float:
    """The standard error of a metric's mean over the parts, or of its difference from another network's."""
    difference = np.asarray(own) - (0.0 if other is None else np.asarray(other))
    return float(difference.std(ddof=1) / math.sqrt(len(difference)))


def _is_divisible(batch: Batch) -> bool:
    """Whether axis 0 of every tensor of a batch are its examples."""
    size = batch_size(batch)
    return all(tensor.dim() > 0 and len(tensor) == size for tensor in tensors(batch))


def _part(predicted: Sequence[Batch], k: int) -> Iterator[Batch]:
    seen = 0
    for batch in predicted:
        first = (k - seen) % PARTS
        seen += batch_size(batch)
        if first < batch_size(batch):
            yield map_tensors(partial(_strided, first), batch)


def _strided(first: int, tensor: Tensor) -> Tensor:
    return tensor[first::PARTS]
