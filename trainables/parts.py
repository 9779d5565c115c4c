"""How far a metric would be another on other examples: its values on parts of the split.

Two networks that are compared on the same examples find the same ones hard, so the noise of their difference
is less than that of each: it is read from the differences of the parts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from raysearch.networks.nests import batch_size, map_tensors, tensors
from raysearch.trainables.data.batches import Batch
from raysearch.trainables.evaluation import Metric, is_running, number, score

PARTS = 10
_LEAST = 5  # examples of a part


class Parts:
    """Each metric on ten parts of all examples, the k-th of them every tenth example from the k-th on.

    Args:
        metrics: by name. Those that are functions see a whole part at once, the others batch by batch.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._functions = {name: metric for name, metric in metrics.items() if not is_running(metric)}
        running: dict[str, Any] = {name: m for name, m in metrics.items() if is_running(m)}
        self._running = {name: [_fresh(metric) for _ in range(PARTS)] for name, metric in running.items()}
        self._kept: list[list[Batch]] = [[] for _ in range(PARTS)]
        self._seen, self._divisible = 0, True

    def watch(self, predicted: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches of (outputs, targets), each taken in on its way."""
        for batch in predicted:
            self._divisible = self._divisible and _is_divisible(batch)
            if self._divisible:
                self._take(batch)
            yield batch

    def values(self) -> dict[str, list[float]]:
        """By name, ten values.

        Without a metric that has no finite value on each part, and none at all where there were fewer than 50
        examples or a batch cannot be divided.
        """
        if not self._divisible or self._seen < PARTS * _LEAST:
            return {}
        found: dict[str, list[float]] = {}
        for name, metric in self._functions.items():
            _keep(found, name, (partial(_scored, part, name, metric) for part in self._kept))
        for name, metrics in self._running.items():
            _keep(found, name, (metric.compute for metric in metrics))
        return found

    def _take(self, batch: Batch) -> None:
        size = batch_size(batch)
        for k in range(PARTS):
            first = (k - self._seen) % PARTS
            if first >= size:
                continue
            outputs, targets = map_tensors(partial(_strided, first), batch)
            for name in list(self._running):
                try:
                    self._running[name][k].update(outputs, targets)
                except Exception:  # as in _keep
                    del self._running[name]
            if self._functions:
                self._kept[k].append((outputs, targets))
        self._seen += size


def _fresh(metric: Any) -> Any:
    copied = copy.deepcopy(metric)
    copied.reset()
    return copied


def _scored(part: list[Batch], name: str, metric: Metric) -> float:
    return score(part, {name: metric})[name]


def _keep(found: dict[str, list[float]], name: str, computed: Iterable[Callable[[], Any]]) -> None:
    """Keep values that are finite; a metric of the user's may fail where a part holds too little for it."""
    try:
        values = [number(name, compute()) for compute in computed]
    except Exception:
        return
    if all(map(math.isfinite, values)):
        found[name] = values


def standard_error(own: Sequence[float], other: Sequence[float] | None = None) -> float:
    """The standard error of a metric's mean over the parts, or of its difference from another network's."""
    difference = np.asarray(own) - (0.0 if other is None else np.asarray(other))
    return float(difference.std(ddof=1) / math.sqrt(len(difference)))


def _is_divisible(batch: Batch) -> bool:
    """Whether axis 0 of every tensor of a batch are its examples."""
    size = batch_size(batch)
    return all(tensor.dim() > 0 and len(tensor) == size for tensor in tensors(batch))


def _strided(first: int, tensor: Tensor) -> Tensor:
    return tensor[first::PARTS]
