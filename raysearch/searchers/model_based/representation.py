"""Points of the unit cube as a Gaussian process sees them: features, and the weights that scale them.

A category becomes one-hot (two different ones lie a squared distance of 1 apart), a number stays its
coordinate. A parameter that is inactive stands at a neutral place, the same for all. Parameters of one domain
(the operators of a cell's edges, the bits of all layers) are besides summed up: the share of each choice, or
the mean. Most of what such parameters do to size, latency and accuracy they do alike, wherever they stand.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from raysearch.searchers.encoding import Encoding, Vector

# A grid with more cells than this is as good as continuous.
_FINE = 256


class Representation:
    """Features of the points of one space.

    The logarithm of a feature's weight is a sum: one part of its parameter, and where several parameters
    share categories one part of its choice, for two choices that differ much do so wherever they stand.

    Attributes:
        loading: which parts make up the weight of each feature, shape (features, parts) of 0 and 1.
        parts: the kind of each part, shape (parts,) of "number", "category", "choice" and "sum".
        summed: which features are sums over a domain, shape (features,) of bool.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._parameters = encoding.parameters
        self._middles = {
            i: np.array([p.middle(cell) for cell in range(int(p.cells))])
            for i, p in enumerate(self._parameters)
            if p.cells <= _FINE
        }
        domains = defaultdict(list)
        for i, p in enumerate(self._parameters):
            domains[p.kind, p.low, p.high, p.log, p.step, repr(p.choices)].append(i)
        self._groups = [np.array(members) for members in domains.values() if len(members) > 1]
        owner = [i for i, p in enumerate(self._parameters) for _ in range(len(p.choices) or 1)]
        sums = sum(len(self._parameters[g[0]].choices) or 1 for g in self._groups)
        choices = [g for g in self._groups if self._parameters[g[0]].choices]
        kinds = ["category" if p.choices else "number" for p in self._parameters]
        kinds += ["choice"] * sum(len(self._parameters[g[0]].choices) for g in choices) + ["sum"] * sums
        self.parts = np.array(kinds)
        self.summed = np.arange(len(owner) + sums) >= len(owner)
        self.loading = np.zeros((len(owner) + sums, len(kinds)))
        self.loading[np.arange(len(owner)), owner] = 1
        self.loading[len(owner) :, len(kinds) - sums :] = np.eye(sums)
        part = len(self._parameters)
        for group in choices:
            count = len(self._parameters[group[0]].choices)
            for i in group:
                self.loading[owner.index(i) + np.arange(count), part + np.arange(count)] = 1
            part += count

    def __call__(self, vectors: Vector, active: NDArray[np.bool_]) -> Vector:
        """Features of points (k, n) of which the parameters in active (k, n) matter, shape (k, features)."""
        parts = []
        for i, p in enumerate(self._parameters):
            if p.kind == "categorical":
                parts.append(_one_hot(vectors[:, i], len(p.choices)) * active[:, i, None] / math.sqrt(2))
            else:
                parts.append(np.where(active[:, i], vectors[:, i], 0.5)[:, None])
        for group in self._groups:
            choices = len(self._parameters[group[0]].choices)
            if choices:
                hot = _one_hot(vectors[:, group], choices) * active[:, group, None]
                parts.append(hot.mean(axis=1))
            else:
                count = active[:, group].sum(axis=1)
                total = (vectors[:, group] * active[:, group]).sum(axis=1)
                parts.append(np.where(count > 0, total / np.maximum(count, 1), 0.5)[:, None])
        return np.concatenate(parts, axis=1)

    def snapped(self, vectors: Vector) -> Vector:
        """The middles of the cells in which points lie, shape (k, n); continuous coordinates stay."""
        result = np.clip(vectors, 0.0, 1.0)
        for i, middles in self._middles.items():
            between = (middles[1:] + middles[:-1]) / 2
            result[:, i] = middles[np.searchsorted(between, result[:, i])]
        return result


def _one_hot(coordinates: Vector, choices: int) -> Vector:
    """(...,) in [0, 1] to (..., choices)."""
    cells = np.minimum((coordinates * choices).astype(np.intp), choices - 1)
    return np.eye(choices)[cells]
