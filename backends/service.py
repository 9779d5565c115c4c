"""Exclusive use of a device: one process measures one model at a time and remembers what it has measured.

``MeasurementService`` is a plain class; remote.py makes it an actor of Ray. Services of several studies on
the same machine take turns (``exclusive_device``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
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
    Estimate,
    Estimator,
    Feed,
    Known,
    Measurement,
    MeasurementError,
    from_dict,
    to_dict,
)
from raysearch.backends.lock import exclusive_device
from raysearch.backends.protocol import Clock, Figures, Inference, Protocol, measure, undisturbed
from raysearch.backends.structure import structure_key
from raysearch.basics.failures import first_line

# Above these another load was noticeable: the thread did not run for a tenth of the time, or the reference
# itself was a quarter slower than when it was alone (a busy sibling core or memory bus, which CPU time does
# not leave out).
_CONTENTION = 0.1
_SLOWDOWN = 1.25


@dataclass(frozen=True)
class _Reference:
    infer: Inference
    structure: str
    quiet_ms: float


class MeasurementService:
    """Measures latencies against a reference, one at a time, and never the same structure twice.

    Args:
        protocol: how to measure.
        folder: where it keeps its references and figures while it lives; one of its own if left out. A
            service that is started on the folder of one that died goes on where that one stood, and refuses
            the model that killed it.
    """

    def __init__(self, protocol: Protocol | None = None, folder: Path | None = None) -> None:
        self._protocol = protocol or Protocol()
        if folder is None:
            self._own = tempfile.TemporaryDirectory(prefix="raysearch-measure-")  # goes when the service does
            folder = Path(self._own.name)
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = self._folder / "known.jsonl"
        self._at_work = self._folder / "at_work"
        self._fatal = self._folder / "fatal"
        self._references: dict[str, _Reference] = {}
        self._lost: dict[str, str] = {}  # why a target has no longer the reference that was set
        self._known: dict[str, Known] = {}
        self._recover()

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
            MeasurementError: its runtime is not installed, or cannot run the model, or crashed on it before.
        """
        backend = _available(target)
        if isinstance(backend, Estimator):
            return self._estimate(backend, model, example, use_cache=True)
        with self._file(backend, model) as path:
            structure = structure_key(path)
            infer = _runner(backend, path, example)
            key = self._key(backend, structure, structure, example)
            measurement = self._known.get(key)
            cached = measurement is not None
            if not isinstance(measurement, Measurement):
                # Its ratio to itself is 1 by definition; measuring it shows the noise.
                figures = replace(self._figures(backend, infer, infer), ratio=1.0)
                quiet = float(np.percentile([*figures.cpu_ms, *figures.reference_ms], 10))
                reference = _Reference(infer, structure, quiet)
                measurement = _measurement(backend, key, structure, reference, figures, example)
                self._learn(measurement)
        self._references[backend.name] = _Reference(infer, structure, measurement.reference_ms)
        self._lost.pop(backend.name, None)
        self._keep_reference(backend, model, example)
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
            MeasurementError: its runtime is not installed, or cannot run the model or the target's reference,
                or crashed on one of them before.
        """
        name = backends.get(target).name
        if name not in self._references and name not in self._lost:
            return self.set_reference(target, model, example)
        return self._measure(target, model, example, use_cache=True)

    def remeasure(self, target: Spec, model: bytes, example: Feed) -> dict[str, Any]:
        """As ``measure``, but anew, replacing the cached figure: for finalists, with nothing else running.

        Raises:
            ValueError: also where the target has no reference yet.
        """
        return self._measure(target, model, example, use_cache=False)

    def known(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """Take in earlier measurements (of the run that is resumed); the last one of a key wins.

        Raises:
            ValueError: one of them is no ``Measurement`` or ``Estimate`` as a dictionary.
        """
        for data in measurements:
            self._learn(from_dict(data))

    def close(self) -> None:
        """Remove the service's folder; its last call."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _measure(self, target: Spec, model: bytes, example: Feed, *, use_cache: bool) -> dict[str, Any]:
        backend = _available(target)
        if isinstance(backend, Estimator):
            return self._estimate(backend, model, example, use_cache=use_cache)
        reference = self._reference(backend.name)
        with self._file(backend, model) as path:
            structure = structure_key(path)
            key = self._key(backend, structure, reference.structure, example)
            if use_cache and key in self._known:
                return to_dict(replace(self._known[key], cached=True))
            figures = self._figures(backend, _runner(backend, path, example), reference.infer)
        return self._learn(_measurement(backend, key, structure, reference, figures, example))

    def _estimate(self, backend: Backend, model: bytes, example: Feed, *, use_cache: bool) -> dict[str, Any]:
        """What a target says without timing; it disturbs nobody and needs no turn."""
        assert isinstance(backend, Estimator)
        with self._file(backend, model) as path:
            structure = structure_key(path)
            key = self._key(backend, structure, "", example)
            if use_cache and key in self._known:
                return to_dict(replace(self._known[key], cached=True))
            start = time.perf_counter()
            figures, notes = backend.estimate(path, example)
        predicted = "predicted" in backend.figures.values()
        estimate = Estimate(
            target=backend.name,
            key=key,
            structure=structure,
            figures=figures,
            runtime=backend.package,
            version=backend.version(),
            device=backend.device(),
            batch=backend.batch,
            seconds=time.perf_counter() - start,
            notes=notes,
            source="predicted" if predicted else "measured",
        )
        return self._learn(estimate)

    def _reference(self, target: str) -> _Reference:
        if target in self._lost:
            raise MeasurementError(
                f"target {target!r} lost its reference when the service started again: {self._lost[target]}"
            )
        if target not in self._references:
            raise ValueError(
                f"target {target!r} has no reference yet: call set_reference with the parent first"
            )
        return self._references[target]

    def _figures(self, backend: Backend, candidate: Inference, reference: Inference) -> Figures:
        with exclusive_device(), undisturbed(backend.threads):
            return measure(candidate, reference, self._protocol, _clock(backend))

    def _key(self, backend: Backend, structure: str, reference: str, example: Feed) -> str:
        what = [structure, reference, backend.name, backend.version(), backend.device(), backend.threads]
        if (spec := backends.spec_of(backend)) != backend.name:
            what.append(spec)
        inputs = [(name, list(array.shape), str(array.dtype)) for name, array in example.items()]
        how = [inputs, self._protocol.to_dict()]
        return hashlib.sha256(json.dumps([what, how]).encode()).hexdigest()[:16]

    def _learn(self, known: Known) -> dict[str, Any]:
        known = replace(known, cached=False)
        self._known[known.key] = known
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(to_dict(known)) + "\n")
        return to_dict(known)

    @contextmanager
    def _file(self, backend: Backend, model: bytes) -> Iterator[Path]:
        """The model as a file, noted as at work: if this process dies meanwhile, the next knows of what."""
        if not self._folder.exists():
            raise MeasurementError("the measurement service is closed")
        digest = hashlib.sha256(model).hexdigest()
        if self._fatal.exists() and digest in self._fatal.read_text(encoding="utf-8").split():
            raise MeasurementError(f"{backend.name} crashed on this model: its process died while it ran")
        path = self._folder / f"model{SUFFIXES[backend.form]}"
        path.write_bytes(model)
        self._at_work.write_text(digest, encoding="utf-8")
        try:
            yield path
        except MeasurementError:
            raise
        except Exception as error:  # what a runtime raises has no common base class
            raise MeasurementError(f"{backend.name} cannot run the model: {first_line(error)}") from error
        finally:
            path.unlink()
            self._at_work.unlink()

    def _keep_reference(self, backend: Backend, model: bytes, example: Feed) -> None:
        folder = self._folder / "references" / backend.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "target.json").write_text(json.dumps(backends.spec_of(backend)), encoding="utf-8")
        (folder / "model").write_bytes(model)
        np.savez(folder / "example.npz", allow_pickle=False, **example)

    def _recover(self) -> None:
        """Go on where a service that died in this folder stood.

        What the death left half-done must not make it raise: the next start would find the same, and so on
        until no restart is left.
        """
        if self._at_work.exists():
            with self._fatal.open("a", encoding="utf-8") as file:
                file.write(self._at_work.read_text(encoding="utf-8") + "\n")
            self._at_work.unlink()
        if self._log.exists():
            self._read_log()
        for folder in sorted(self._folder.glob("references/*")):
            try:
                target = json.loads((folder / "target.json").read_text(encoding="utf-8"))
                with np.load(folder / "example.npz") as example:
                    self.set_reference(target, (folder / "model").read_bytes(), dict(example))
            except Exception as error:  # whatever it is, only the calls that need this reference fail of it
                self._lost[folder.name] = first_line(error)

    def _read_log(self) -> None:
        """Take in the figures; a last line whose writer died in it is cut off, or it would spoil the next."""
        data = self._log.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        os.truncate(self._log, len(whole))
        for line in whole.splitlines():
            known = from_dict(json.loads(line))
            self._known[known.key] = known


def _available(target: Spec) -> Backend:
    backend = backends.get(target)
    reason = backend.unavailable()
    if reason is not None:
        raise MeasurementError(f"target {backend.name!r} is not available: {reason}")
    return backend


def _clock(backend: Backend) -> Clock:
    """The clocks of a target; a device's own does not tell one call from the next."""
    cpu = backend.clock()
    return Clock(cpu=cpu, each=cpu in (time.thread_time_ns, time.perf_counter_ns))


def _runner(backend: Backend, path: Path, example: Feed) -> Inference:
    infer = backend.load(path).runner(example)
    infer()  # what cannot run fails here, not in the middle of a measurement
    return infer


def _measurement(
    backend: Backend, key: str, structure: str, reference: _Reference, figures: Figures, example: Feed
) -> Measurement:
    slowdown = float(np.median(figures.reference_ms)) / reference.quiet_ms
    return Measurement(
        target=backend.name,
        key=key,
        structure=structure,
        reference=reference.structure,
        latency_ms=figures.ratio * reference.quiet_ms,
        ratio=figures.ratio,
        reference_ms=reference.quiet_ms,
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
