"""When an input leaves early: where the exit is confident enough, by a confidence that is calibrated.

The confidence is the largest probability that the exit gives, its logits divided by a temperature that makes
such probabilities true on the validation split [1]. The threshold is set there too: for a budget of mean
latency, or, where none is asked, so that no more inputs leave than do without fewer right classes.

[1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. On calibration of modern neural networks. ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raysearch.networks.exits import Exits

_COLDEST, _HOTTEST = 0.05, 20.0  # of temperatures that are looked at
_STEPS = 60  # of a golden section: the temperature is then known to a millionth
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class ExitRule:
    """When an input leaves.

    Attributes:
        temperature: > 0, that the exit's logits are divided by.
        threshold: an input leaves where the confidence is above it.
        share: of the validation split that leaves.
    """

    temperature: float
    threshold: float
    share: float

    def leaves(self, early: Tensor) -> Tensor:
        """Which inputs leave, by the exit's logits (n, classes), as booleans (n,)."""
        return confidence(early, self.temperature) > self.threshold

    def outputs(self, exits: Exits) -> Tensor:
        """What the network gives for a batch: of each input the logits of where it left, (n, classes)."""
        return torch.where(self.leaves(exits.early)[:, None], exits.early, exits.last)

    def to_dict(self) -> dict[str, float]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> ExitRule:
        """The inverse of ``to_dict``.

        Raises:
            KeyError: a number is missing.
        """
        return cls(float(said["temperature"]), float(said["threshold"]), float(said["share"]))


#: By them no input leaves, and every one: what a network costs at most, and at least.
NEVER, ALWAYS = ExitRule(1.0, 2.0, 0.0), ExitRule(1.0, -1.0, 1.0)


def confidence(early: Tensor, temperature: float) -> Tensor:
    """The largest probability of each of the exit's logits (n, classes), (n,)."""
    return functional.softmax(early.float() / temperature, dim=1).amax(1)


def calibrated(early: Tensor, labels: Tensor) -> float:
    """The temperature at which the exit's probabilities are the most likely [1].

    Args:
        early: logits (n, classes) of the validation split.
        labels: int64 (n,).
    """
    logits = early.double()

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(logits / math.exp(log_temperature), labels))

    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    for _ in range(_STEPS):  # of the inverse temperature the loss is convex: it has one valley
        width = _GOLDEN * (high - low)
        low, high = (low, low + width) if loss(high - width) < loss(low + width) else (high - width, high)
    return math.exp((low + high) / 2)


def share_for(budget: float, costs: Mapping[str, tuple[float, float]]) -> float:
    """The share of inputs that must leave for a mean latency, on every target, in [0, 1].

    Args:
        budget: as a share of the latency of the network run to its end; where it cannot be met, all leave.
        costs: by target the latency of an input that leaves and of one that does not; those that are not
            known do not count.
    """
    shares = [0.0]
    for early, whole in costs.values():
        if not (math.isfinite(early) and math.isfinite(whole)):
            continue
        wanted = (1 - budget) * whole
        shares.append(min(1.0, wanted / (whole - early)) if whole > early else float(wanted > 0))
    return max(shares)


def set_rule(exits: Exits, labels: Tensor, share: float | None) -> ExitRule:
    """The rule for outputs of the validation split.

    Args:
        exits: logits (n, classes) of all its examples.
        labels: int64 (n,).
        share: of them that is to leave at least; None: as many as can without fewer right classes than the
            network's end alone gives.
    """
    temperature = calibrated(exits.early, labels)
    sure = confidence(exits.early, temperature).numpy()
    order = np.argsort(-sure, kind="stable")
    if share is None:
        right = [(logits.argmax(1) == labels).numpy().astype(int) for logits in exits]
        gains = np.concatenate([[0], np.cumsum((right[0] - right[1])[order])])
        leaving = int(np.flatnonzero(gains >= 0)[-1])
        threshold = _between(sure[order], leaving, more=False)
    else:
        threshold = _between(sure[order], math.ceil(share * len(order) - 1e-9), more=True)
    return ExitRule(temperature, threshold, float((sure > np.float32(threshold)).mean()))


def _between(sure: np.ndarray, leaving: int, *, more: bool) -> float:
    """A threshold above which so many of the confidences, the largest first, lie.

    Equal ones leave together: one more or fewer than asked for as ``more`` says.
    """
    while 0 < leaving < len(sure) and sure[leaving - 1] == sure[leaving]:
        leaving += 1 if more else -1
    if leaving == 0:
        return 1.0  # no confidence is above it
    if leaving == len(sure):
        return 0.0
    return float(np.float32((float(sure[leaving - 1]) + float(sure[leaving])) / 2))
