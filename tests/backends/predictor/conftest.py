"""Made-up models and devices, on which costs are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raysearch.backends.predictor import Operator, features, products

WIDTHS = (16, 32, 64)


class Device:
    """Each operator costs the larger of computing and moving, and a start; noise is relative."""

    def __init__(self, seed: int, noise: float = 0.03) -> None:
        self._rng = np.random.default_rng(seed)
        self._rate, self._bandwidth, self._start = np.exp(self._rng.normal([17, 16, -4], 0.7))
        self._kinds: dict[str, float] = {}
        self._noise = noise

    def cost(self, model: list[Operator]) -> float:
        return sum(self._one(operator) * operator.times for operator in model)

    def measured(self, model: list[Operator]) -> float:
        return self.cost(model) * float(np.exp(self._noise * self._rng.standard_normal()))

    def _one(self, operator: Operator) -> float:
        own = self._kinds.setdefault(operator.kind, float(np.exp(0.3 * self._rng.standard_normal())))
        return own * (max(operator.macs / self._rate, operator.moved / self._bandwidth) + self._start)


def random_model(seed: int) -> list[Operator]:
    """A chain of convolutions, sums and poolings."""
    rng = np.random.default_rng(seed)
    found, side, given = [], 32, 3
    for _ in range(int(rng.integers(3, 12))):
        made, kernel = int(rng.choice(WIDTHS)), int(rng.choice([1, 3]))
        sums = products(given, made, side**2, kernel**2)
        found.append(Operator(f"Conv {kernel}x{kernel}", moved=4.0 * (given + made) * side**2, **sums))
        if rng.random() < 0.5:
            found.append(Operator("Add", moved=12.0 * made * side**2))
        if side > 4 and rng.random() < 0.3:
            found.append(Operator("MaxPool", moved=5.0 * made * side**2))
            side //= 2
        given = made
    return found


@pytest.fixture(scope="session")
def models() -> list[list[Operator]]:
    return [random_model(seed) for seed in range(400)]


@pytest.fixture(scope="session")
def described(models) -> list[dict[str, float]]:
    return [features(model) for model in models]


@pytest.fixture(scope="session")
def device() -> Callable[..., Any]:
    return Device
