"""How far a file's outputs are from the module's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from raysearch.networks import nests
from raysearch.networks.nests import Nest


class ExportDisagreement(RuntimeError):
    """The exported file does not compute what the torch module does; the message has the figures."""


def largest_difference(expected: Nest, given: list[Tensor]) -> float:
    """Of all outputs, relative to each one's range; NaN where one holds one, infinite where shapes differ."""
    pairs = zip(nests.tensors(expected), given, strict=True)
    return max((_difference(a.cpu(), b) for a, b in pairs), default=0.0)


def _difference(expected: Tensor, given: Tensor) -> float:
    """The largest difference relative to the range of what is finite; NaN where either holds one."""
    if not expected.is_floating_point():
        return 0.0 if torch.equal(expected, given.to(expected.dtype)) else math.inf
    if expected.shape != given.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    expected, given = expected.double(), given.double()
    finite = expected[expected.isfinite()]
    span = float(finite.max() - finite.min()) or float(finite.abs().max()) if len(finite) else 0.0
    apart = (given - expected).abs().masked_fill(given == expected, 0.0)  # equal infinities do not differ
    return float(apart.max()) / max(span, math.ulp(1.0))
