"""What a model does, operator by operator, whatever the form of its file."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

QUANTITIES = ("count", "macs", "padded", "gathered", "bytes")
INTEGER = " in integers"
IDLE = "idle "
LANES = 16
"""Channels that processors compute at once, or a multiple of them: 16 floats or 64 bytes are 512 bits."""


@dataclass(frozen=True)
class Operator:
    """One operator as a runtime runs it: what it fuses is one.

    Attributes:
        kind: operators of a kind cost alike for the same work: "Conv 3x3", "Conv 3x3 depthwise", "Add".
        macs: products that it sums, for a batch of one.
        padded: the same with channels filled up to whole multiples of ``LANES``.
        gathered: values that a convolution collects, for each position those under its kernel.
        moved: bytes that it reads and writes, weights included.
        integer: whether it computes with integers of 8 bits or fewer.
        idle: no output of the model depends on it. Some runtimes leave such operators out, others run them.
        times: how often it runs.
    """

    kind: str
    macs: float = 0.0
    padded: float = 0.0
    gathered: float = 0.0
    moved: float = 0.0
    integer: bool = False
    idle: bool = False
    times: float = 1.0


def products(given: int, made: int, positions: int, kernel: int = 1, groups: int = 1) -> dict[str, float]:
    """What a convolution, or a product of matrices, sums and collects: arguments of an ``Operator``.

    Args:
        given: channels of the input.
        made: channels of the output.
        positions: that it is computed at, rows of a product.
        kernel: values under it, 9 of 3x3.
        groups: of channels; as many as ``made`` is a depthwise convolution.
    """
    inner = given // groups
    macs = float(positions * kernel * inner * made)
    full = positions * kernel * filled(made) * (filled(inner) if inner > 1 else 1)
    return {"macs": macs, "padded": float(full), "gathered": float(positions * kernel * given)}


def filled(channels: int) -> int:
    """Channels up to the next multiple of ``LANES``."""
    return LANES * math.ceil(channels / LANES)


def features(operators: Iterable[Operator]) -> dict[str, float]:
    """A model's named features: of each kind of operator the count and what it does, summed.

    They are called "Conv 3x3 in integers/macs", by ``QUANTITIES``; operators that are idle stand apart, "idle
    Add/count". A feature that is not named is 0.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    for one in operators:
        kind = f"{IDLE * one.idle}{one.kind}{INTEGER * one.integer}"
        done = (1.0, one.macs, one.padded, one.gathered, one.moved)
        for quantity, value in zip(QUANTITIES, done, strict=True):
            if value:
                sums[f"{kind}/{quantity}"] += one.times * value
    return dict(sorted(sums.items()))


def features_named(models: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """The names of all features that some models have, sorted."""
    return tuple(sorted({name for model in models for name in model}))
