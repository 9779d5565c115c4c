"""Exclusive use of a device: one process measures one model at a time and remembers what it has measured.

``MeasurementService`` is a plain class; process.py makes it an actor of Ray. Services of several studies on
the same machine take turns (``exclusive_device``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from raysearch import backends
from raysearch.backends import Spec
from raysearch.backends.base import (
    SUFFIXES,
    Array,
    Backend,
    Comparing,
    Estimator,
    Feed,
    Measurement,
    MeasurementError,
    clock_of,
    from_dict,
    to_dict,
)
from raysearch.backends.cascade import Cascade
from raysearch.backends.energy.meters import Metered, opened
from raysearch.backends.energy.power import Energy, energy_of, idle_power
from raysearch.backends.measurement.known import KnownFigures
from raysearch.backends.measurement.lock import MACHINE, exclusive_device
from raysearch.backends.measurement.measured import estimate_of, measurement_of
from raysearch.backends.measurement.over_data import Infer, one_by_one, over_data, summary
from raysearch.backends.measurement.protocol import Figures, Inference, Protocol, measure, undisturbed
from raysearch.backends.structure import structure_key
from raysearch.basics.failures import first_line


@dataclass(frozen=True)
class _Reference:
    subject: Inference | Path
    structure: str
    quiet_ms: float


class MeasurementService:
    """Measures latencies against a reference, one at a time, and never the same structure twice.

    Args:
        protocol: how to measure.
        folder: where it keeps its figures while it lives; one of its own if left out. A service that is
            started on the folder of one that died has its figures.
        shared: a folder with the figures of earlier runs; None: they are not looked at.
        device: what nobody else may use meanwhile: this machine, or a device of it by its name.
    """

    def __init__(
        self,
        protocol: Protocol | None = None,
        folder: Path | None = None,
        shared: Path | None = None,
        device: str = MACHINE,
    ) -> None:
        self._protocol = protocol or Protocol()
        if folder is None:
            self._own = tempfile.TemporaryDirectory(prefix="raysearch-measure-")  # goes when the service does
            folder = Path(self._own.name)
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._device = device
        self._known = KnownFigures(self._folder / "known.jsonl", shared)
        self._references: dict[str, _Reference] = {}
        self._loaded: tuple[Any, Any] = (None, None)  # the model that is run, with what it is

    def set_reference(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """Set the model that all others on this target are compared with, and measure its quiet latency.

        Where this reference is already known (a resumed run), its known latency stays the unit.

        Args:
            target: the target's name, or its description.
            model: the bytes of a model file of the target's form.
            example: a batch of inputs by name, usually of one.

        Returns:
            The reference's own measurement as a dictionary; its ratio is 1. On a target whose figures are
            estimates there is nothing to compare: the estimate.

        Raises:
            ValueError: the target is unknown.
            MeasurementError: its runtime is not installed, or cannot run the model.
        """
        backend = _available(target)
        if isinstance(backend, Estimator):
            return self._estimate(backend, model, example, use_cache=True)
        with self._file(backend, model) as path:
            structure = structure_key(path)
            subject = _subject(backend, path, example)
            key = self._key(backend, structure, structure, example)
            measurement = self._known.find(key, backend)
            cached = measurement is not None
            if not isinstance(measurement, Measurement):
                # Its ratio to itself is 1 by definition; measuring it shows the noise.
                figures, energy = self._figures(backend, subject, subject, example)
                figures = replace(figures, ratio=1.0)
                quiet = float(np.percentile([*figures.cpu_ms, *figures.reference_ms], 10))
                unit = (structure, quiet)
                measurement = measurement_of(backend, key, structure, unit, figures, example, energy)
                self._known.learn(measurement)
        if isinstance(subject, Path):  # that one goes with the call
            subject = self._kept(backend, model)
        self._references[backend.name] = _Reference(subject, structure, measurement.reference_ms)
        return to_dict(replace(measurement, cached=cached))

    def measure(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """The latency of a model, from the cache where a model of the same structure was measured before.

        The first model measured on a target that has no reference becomes its reference: its ratio is 1, and
        all others are compared with it.

        Args:
            target: the target's name, or its description.
            model: the bytes of a model file of the target's form.
            example: a batch of inputs by name, of the shapes that the reference was given.

        Returns:
            A ``Measurement`` as a dictionary, or on a target that is not timed an ``Estimate``.

        Raises:
            ValueError: the target is unknown.
            MeasurementError: its runtime is not installed, or cannot run the model.
        """
        if backends.get(target).name not in self._references:
            return self.set_reference(target, model, example)
        return self._measure(target, model, example, use_cache=True)

    def remeasure(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """As ``measure``, but anew, replacing the cached figure: for finalists, with nothing else running.

        Raises:
            ValueError: also where the target has no reference yet.
        """
        return self._measure(target, model, example, use_cache=False)

    def over_data(self, target: Spec, model: bytes, cascade: Sequence[bytes], inputs: Feed) -> dict[str, Any]:
        """What a network that inputs may leave early takes over data, as one file and as two.

        Args:
            target: the target's name, or its description.
            model: the bytes of the one file.
            cascade: those of the two.
            inputs: by name; they are run one by one.

        Returns:
            "inputs", how many; "one_file" and "two_files", each with "mean_ms", "p50_ms" and "p99_ms".

        Raises:
            ValueError: the target is unknown, or has no reference yet.
            MeasurementError: its runtime is not installed, or cannot run a file.
        """
        backend = _available(target)
        reference = self._reference(backend.name)
        with self._file(backend, model) as path:
            parts = [path.with_name(f"{word}{path.suffix}") for word in ("early", "late")]
            for part, content in zip(parts, cascade, strict=True):
                part.write_bytes(content)
            forms: dict[str, Infer] = {"one_file": backend.load(path), "two_files": Cascade(backend, *parts)}
            singles = one_by_one(inputs)
            assert not isinstance(reference.subject, Path)  # such targets run no branches
            with exclusive_device(self._device), undisturbed(backend.threads):
                ratios = over_data(forms, singles, reference.subject, clock_of(backend))
        said = {name: summary(times, reference.quiet_ms) for name, times in ratios.items()}
        return {"inputs": len(singles), **said}

    def run(self, target: Spec, model: bytes, feed: Feed, optimize: bool = True) -> tuple[Array, ...]:
        """The outputs of a batch of inputs on a target; the model stays loaded for the next batch.

        Raises:
            ValueError: the target is unknown.
            MeasurementError: its runtime is not installed, or cannot run the model.
        """
        backend = _available(target)
        key = (backend, hashlib.sha256(model).hexdigest(), optimize)
        with self._file(backend, model) as path:
            if key != self._loaded[0]:
                self._loaded = (key, backend.load(path, optimize=optimize))
            with exclusive_device(self._device):
                outputs: tuple[Array, ...] = self._loaded[1](feed)
        return outputs

    def known(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """Take in earlier measurements (of the run that is resumed); the last one of a key wins.

        Raises:
            ValueError: one of them is no ``Measurement`` or ``Estimate`` as a dictionary.
        """
        for data in measurements:
            self._known.learn(from_dict(data), share=False)

    def close(self) -> None:
        """Remove the service's folder and let go of its models, which may have their own; its last call."""
        self._references.clear()
        self._loaded = (None, None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _measure(self, target: Spec, model: bytes, example: Feed, *, use_cache: bool) -> dict[str, Any]:
        backend = _available(target)
        if isinstance(backend, Estimator):
            return self._estimate(backend, model, example, use_cache=use_cache)
        reference = self._reference(backend.name)
        with self._file(backend, model) as path:
            structure = structure_key(path)
            key = self._key(backend, structure, reference.structure, example)
            known = self._known.find(key, backend) if use_cache else None
            if isinstance(known, Measurement):
                # In this run's unit: the reference's quiet latency may be another than when it was found.
                latency, quiet = known.ratio * reference.quiet_ms, reference.quiet_ms
                return to_dict(replace(known, latency_ms=latency, reference_ms=quiet, cached=True))
            subject = _subject(backend, path, example)
            figures, energy = self._figures(backend, subject, reference.subject, example)
        unit = (reference.structure, reference.quiet_ms)
        measurement = measurement_of(backend, key, structure, unit, figures, example, energy)
        self._known.learn(measurement)
        return to_dict(measurement)

    def _estimate(self, backend: Backend, model: bytes, example: Feed, *, use_cache: bool) -> dict[str, Any]:
        """What a target says without timing; it disturbs nobody and needs no turn."""
        assert isinstance(backend, Estimator)
        with self._file(backend, model) as path:
            structure = structure_key(path)
            # A compiler may look at the weights' values: only the same file is the same.
            key = self._key(backend, hashlib.sha256(model).hexdigest(), "", example)
            if use_cache and (known := self._known.find(key, backend)) is not None:
                return to_dict(replace(known, cached=True))
            start = time.perf_counter()
            figures, notes = backend.estimate(path, example)
        seconds = time.perf_counter() - start
        estimate = estimate_of(backend, key, structure, figures, notes, seconds)
        self._known.learn(estimate)
        return to_dict(estimate)

    def _reference(self, target: str) -> _Reference:
        if target not in self._references:
            raise ValueError(
                f"target {target!r} has no reference yet: call set_reference with the parent first"
            )
        return self._references[target]

    def _figures(
        self, backend: Backend, candidate: Any, reference: Any, example: Feed
    ) -> tuple[Figures, Energy | None]:
        """Times of two subjects of a target (see ``_subject``), and where it has a meter energy.

        The power at rest is read before the timing, that at work after it.
        """
        if isinstance(backend, Comparing):
            return backend.compare(candidate, reference, example, self._protocol), None
        with exclusive_device(self._device):
            meter = (
                opened(backend.meter, _gpu_of(backend))
                if isinstance(backend, Metered) and backend.meter
                else None
            )
            idle = idle_power(meter) if meter else None
            clock = clock_of(backend)
            with undisturbed(backend.threads):
                figures = measure(candidate, reference, self._protocol, clock)
            # Outside, or a meter that is a process would wait for the core that the model holds.
            energy = energy_of(candidate, meter, idle, finish=clock.cpu) if meter and idle else None
            return figures, energy

    def _key(self, backend: Backend, structure: str, reference: str, example: Feed) -> str:
        what = [structure, reference, backend.name, backend.version(), backend.device(), backend.threads]
        if (spec := backends.spec_of(backend)) != backend.name:
            what.append(spec)
        inputs = [(name, list(array.shape), str(array.dtype)) for name, array in example.items()]
        how = [inputs, self._protocol.to_dict()]
        return hashlib.sha256(json.dumps([what, how]).encode()).hexdigest()[:16]

    @contextmanager
    def _file(self, backend: Backend, model: bytes) -> Iterator[Path]:
        """The model as a file."""
        if not self._folder.exists():
            raise MeasurementError("the measurement service is closed")
        path = self._folder / f"model{SUFFIXES[backend.form]}"
        path.write_bytes(model)
        try:
            yield path
        except MeasurementError:
            raise
        except Exception as error:  # what a runtime raises has no common base class
            raise MeasurementError(f"{backend.name} cannot run the model: {first_line(error)}") from error
        finally:
            path.unlink()

    def _kept(self, backend: Backend, model: bytes) -> Path:
        """A reference as a file that stays, for a target that measures files where it is."""
        path = self._folder / "references" / backend.name / f"model{SUFFIXES[backend.form]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model)
        return path


def _available(target: Spec) -> Backend:
    backend = backends.get(target)
    reason = backend.unavailable()
    if reason is not None:
        raise MeasurementError(f"target {backend.name!r} is not available: {reason}")
    return backend


def _subject(backend: Backend, path: Path, example: Feed) -> Inference | Path:
    """What is measured: one inference a call; the file itself on a target that measures where it is."""
    if isinstance(backend, Comparing):
        return path
    infer = backend.load(path).runner(example)
    infer()  # what cannot run fails here, not in the middle of a measurement
    return infer


def _gpu_of(backend: Backend) -> int | None:
    """The index of the GPU that a target names, if it names one."""
    return getattr(backend, "gpu", None)
