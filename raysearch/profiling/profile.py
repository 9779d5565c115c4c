"""The profile of a target: its channel multiples, the bits it is faster in, and a predictor of latency."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from torch import fx

from raysearch import backends
from raysearch.backends import Spec, predictor, profiles
from raysearch.backends.base import Backend, in_integers_alone, values_of
from raysearch.backends.measurement.service import MeasurementService
from raysearch.basics.failures import UserError
from raysearch.profiling import networks

WIDTHS = tuple(range(8, 33))
MULTIPLES = (16, 8, 4, 2, 1)
PAIRS = ((8, 8), (4, 8), (4, 4), (8, 32), (32, 8), (16, 16))
_PROBED = 32  # channels of the networks by which bits are compared
_TOLERANCE = 0.03  # what two latencies may differ by and still be called the same
_HELD_OUT = 10

Latency = Callable[[fx.GraphModule], float]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Profile:
    """What was found of a target.

    Attributes:
        target: its description.
        runtime, version, device: what ran where.
        channel_multiple: of channels, by which the widths that are worth taking are best described; the
            larger one of float's and the integers'.
        latency_ms: of four convolutions by their width, in each precision that was tried ("32/32", "8/8").
        speed_ups: how many times faster than in float the same network is, by its bits of weights and of
            activations; below 1 it is slower.
        predictor: the state of a latency predictor.
        spearman: rank correlation of predicted and measured latencies of networks that it was not made of.
        error: the median relative error on those.
        coverage_90: the share of those within their 90 % interval.
        measured: networks that the predictor was made of.
    """

    target: Spec
    runtime: str
    version: str
    device: str
    channel_multiple: int
    latency_ms: dict[str, dict[int, float]]
    speed_ups: dict[str, float]
    predictor: dict[str, Any]
    spearman: float
    error: float
    coverage_90: float
    measured: int


def profile(target: Spec, samples: int = 20, seed: int = 0, say: Say = lambda text: None) -> Profile:
    """Find out what a target is like, and keep it for the studies on this machine.

    Args:
        target: its name or description.
        samples: networks that the predictor is made of, >= 5; ten more are held out.
        seed: of the networks.
        say: told what is being done.

    Raises:
        UserError: the target is unknown, not available, or says nothing of latency.
        MeasurementError: it cannot run one of the networks.
    """
    backend = backends.get(target)
    if reason := backend.unavailable():
        raise UserError(f"target {backend.name} is not available: {reason}")
    if "latency_ms" not in backend.figures:
        raise UserError(f"target {backend.name} says nothing of latency: there is nothing to learn of it")
    if backend.finalists_only:
        raise UserError(f"target {backend.name} compiles for minutes: it is measured on finalists alone")
    if samples < 5:
        raise UserError(f"samples is {samples}: give 5 or more")
    with _measured(backend) as latency_of:
        say(f"widths from {WIDTHS[0]} to {WIDTHS[-1]}")
        times = widths(backend, latency_of)
        say("bits")
        gains = speed_ups(backend, latency_of)
        say(f"{samples + _HELD_OUT} random networks")
        found = _predicted(backend, latency_of, samples, seed)
    made = Profile(
        backends.spec_of(backend),
        backend.package,
        backend.version(),
        backend.device(),
        channel_multiple=max(multiple_of(t) for t in times.values()),
        latency_ms=times,
        speed_ups=gains,
        measured=samples,
        **found,
    )
    profiles.store(backend, asdict(made))
    return made


def widths(backend: Backend, latency_of: Latency) -> dict[str, dict[int, float]]:
    """Latencies by width: in float, and in the most bits of integers, where the target computes them."""
    floats = [] if in_integers_alone(backend) else [(networks.FLOAT, networks.FLOAT)]
    precisions = [*floats, *([(8, 8)] if 8 in backend.integers else [])]
    return {
        f"{bits[0]}/{bits[1]}": {
            width: latency_of(networks.even(width, bits, backend.form)) for width in WIDTHS
        }
        for bits in precisions
    }


def worthwhile(times: Mapping[int, float]) -> list[int]:
    """The widths that are faster, by more than 3 %, than every wider one.

    Args:
        times: latencies by width.
    """
    return [w for w in times if all(times[w] < (1 - _TOLERANCE) * times[v] for v in times if v > w)]


def multiple_of(times: Mapping[int, float]) -> int:
    """The multiple that tells best which widths are worthwhile.

    Args:
        times: latencies by width.

    Returns:
        That of ``MULTIPLES`` with the largest F-score: of its multiples, few that a wider one beats, and of
        the worthwhile widths, few that it passes over; of equal ones the largest.
    """
    good = set(worthwhile(times))

    def score(multiple: int) -> float:
        allowed = {w for w in times if w % multiple == 0}
        return 2 * len(allowed & good) / (len(allowed) + len(good))

    return max(MULTIPLES, key=score)


def speed_ups(backend: Backend, latency_of: Latency) -> dict[str, float]:
    """How many times faster than in float a network is in other bits; nothing where float is not computed."""
    if in_integers_alone(backend):
        return {}
    whole = latency_of(networks.even(_PROBED, (networks.FLOAT, networks.FLOAT)))
    return {f"{w}/{a}": whole / latency_of(networks.even(_PROBED, (w, a), backend.form)) for w, a in PAIRS}


def _predicted(backend: Backend, latency_of: Latency, samples: int, seed: int) -> dict[str, Any]:
    """A predictor made of random networks, and how well it does on others."""
    features, values = [], []
    pairs = networks.INTEGERS if in_integers_alone(backend) else networks.ALL
    for module in networks.random(samples + _HELD_OUT, seed, backend.form, pairs):
        with tempfile.TemporaryDirectory() as folder:
            path = networks.write(module, "uint8", Path(folder)).onnx
            features.append(predictor.features(predictor.operators_of(path)))
        values.append(latency_of(module))
    made = predictor.fit(features[:samples], values[:samples])
    said, truth = made.predict(features[samples:]), np.array(values[samples:])
    return {
        "predictor": made.state(),
        "spearman": float(spearmanr(said.mean, truth).statistic),
        "error": float(np.median(np.abs(said.mean / truth - 1))),
        "coverage_90": float(((said.low <= truth) & (truth <= said.high)).mean()),
    }


@contextmanager
def _measured(backend: Backend) -> Iterator[Latency]:
    """The latency of a network as it is deployed, of an input or a batch, in ms."""
    example, spec = networks.example(backend.batch), backends.spec_of(backend)
    with _service(backend) as measure, tempfile.TemporaryDirectory() as folder:

        def latency_of(module: fx.GraphModule) -> float:
            path = networks.write(module, backend.form, Path(folder)).target
            found = values_of(measure(spec, path.read_bytes(), example))
            return found[f"latency_ms/{backend.name}"]

        yield latency_of


@contextmanager
def _service(backend: Backend) -> Iterator[Callable[..., dict[str, Any]]]:
    """What measures on a target: in this process, or through Ray where its devices are a cluster's."""
    from raysearch.backends.on_nodes import OnNodes

    if not isinstance(backend, OnNodes):
        yield MeasurementService().measure
        return
    from raysearch.backends.measurement.devices import start_service
    from raysearch.runs.tuning import cluster

    with cluster():
        service = start_service(f"raysearch-profile-{backend.name}")
        try:
            yield service.measure
        finally:
            service.stop()


def summary(found: Profile) -> Sequence[str]:
    """A profile in sentences."""
    gains = ", ".join(f"{bits} {gain:.2f} x" for bits, gain in found.speed_ups.items())
    lines = [
        f"{found.runtime} {found.version} on {found.device}",
        f"channels in multiples of {found.channel_multiple}",
        f"bits of weights / activations against float: {gains or 'it computes nothing in float'}",
        f"a predictor from {found.measured} networks: rank correlation {found.spearman:.3f}, median error "
        f"{found.error:.1%}, {found.coverage_90:.0%} of new ones within their 90 % interval",
    ]
    for bits, times in found.latency_ms.items():
        good = ", ".join(map(str, worthwhile(times)))
        lines.append(f"at {bits} the widths that no wider one beats, of {min(times)} to {max(times)}: {good}")
    return lines
