"""What was found of a model as a Measurement or an Estimate, with everything that says what it is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysearch.backends.base import Array, Backend, Estimate, Feed, Measurement
from raysearch.backends.protocol import Figures

# Above these another load was noticeable: the thread did not run for a tenth of the time, or the reference
# itself was a quarter slower than when it was alone (a busy sibling core or memory bus, which CPU time does
# not leave out).
_CONTENTION = 0.1
_SLOWDOWN = 1.25


def measurement_of(
    backend: Backend,
    key: str,
    structure: str,
    reference: tuple[str, float],
    figures: Figures,
    example: Feed,
) -> Measurement:
    """A measurement of what the protocol found.

    Args:
        backend: where.
        key: of what was measured and how.
        structure: the model's.
        reference: the structure that it was compared with, and its quiet latency in ms.
        figures: what was found.
        example: the batch that it was found on.
    """
    compared_with, quiet_ms = reference
    slowdown = float(np.median(figures.reference_ms)) / quiet_ms
    return Measurement(
        target=backend.name,
        key=key,
        structure=structure,
        reference=compared_with,
        latency_ms=figures.ratio * quiet_ms,
        ratio=figures.ratio,
        reference_ms=quiet_ms,
        noise=figures.noise,
        cpu_ms=_percentiles(figures.cpu_ms, (10, 50, 90)),
        wall_ms=_percentiles(figures.wall_ms, (50, 90, 99)),
        contention=figures.contention,
        slowdown=slowdown,
        contended=figures.contention > _CONTENTION or slowdown > _SLOWDOWN,
        converged=figures.converged,
        warm=figures.warm,
        samples=len(figures.cpu_ms),
        seconds=figures.seconds,
        runtime=backend.package,
        version=backend.version(),
        device=backend.device(),
        threads=backend.threads,
        batch=len(next(iter(example.values()))),
    )


def _percentiles(values: Array, percents: tuple[int, ...]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in percents}


def estimate_of(
    backend: Backend,
    key: str,
    structure: str,
    figures: dict[str, float],
    notes: Sequence[str],
    seconds: float,
) -> Estimate:
    """What a target said without timing; what it names as predicted makes the whole a prediction."""
    return Estimate(
        target=backend.name,
        key=key,
        structure=structure,
        figures=figures,
        runtime=backend.package,
        version=backend.version(),
        device=backend.device(),
        batch=backend.batch,
        seconds=seconds,
        notes=list(notes),
        source="predicted" if "predicted" in backend.figures.values() else "measured",
    )
