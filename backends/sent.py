"""Targets whose devices are not where the trials are: models are sent to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from raysearch.backends.base import Array, Backend, CompiledModel, Estimator, Feed, Form, Source
from raysearch.basics.failures import UserError


@dataclass(frozen=True)
class Sent:
    """What targets elsewhere share: they are as their runtime is, and run models through the service.

    Attributes:
        inner: the runtime, as it is on the device.
        service: the name of the measurement service, which a run gives to the targets of its trials.
    """

    inner: Backend
    service: str = field(default="", kw_only=True, compare=False)

    @property
    def runtime(self) -> str:
        """The inner one's, as all that follow."""
        return self.inner.runtime

    @property
    def name(self) -> str:  # noqa: D102
        return self.inner.name

    @property
    def package(self) -> str:  # noqa: D102
        return self.inner.package

    @property
    def form(self) -> Form:  # noqa: D102
        return self.inner.form

    @property
    def figures(self) -> Mapping[str, Source]:  # noqa: D102
        return self.inner.figures

    @property
    def channel_multiple(self) -> int:  # noqa: D102
        return self.inner.channel_multiple

    @property
    def integers(self) -> frozenset[int]:  # noqa: D102
        return self.inner.integers

    @property
    def sparse(self) -> frozenset[str]:  # noqa: D102
        return self.inner.sparse

    @property
    def threads(self) -> int:  # noqa: D102
        return self.inner.threads

    @property
    def finalists_only(self) -> bool:  # noqa: D102
        return self.inner.finalists_only

    @property
    def batch(self) -> int:  # noqa: D102
        return self.inner.batch

    def clock(self) -> Callable[[], int]:
        """The inner one's."""
        return self.inner.clock()

    def load(self, path: Path, *, optimize: bool = True) -> CompiledModel:
        """A model that is run on the device, batch by batch; see ``Backend.load``."""
        return SentModel(self, path.read_bytes(), optimize)


def check_timed(inner: Backend) -> None:
    """Refuse a device for a target on which nothing is timed.

    Raises:
        UserError: what it says needs no device.
    """
    if isinstance(inner, Estimator):
        raise UserError(f"target {inner.name!r}: nothing is timed on it, so that it needs no device")


class SentModel:
    """A model file that its target's device runs."""

    def __init__(self, target: Sent, content: bytes, optimize: bool) -> None:
        self._target, self._content, self._optimize = target, content, optimize

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, computed on the device."""
        from raysearch.backends import spec_of
        from raysearch.backends.measurement.remote import connect

        spec = spec_of(self._target)  # type: ignore[arg-type]
        return connect(self._target.service).run(spec, self._content, feed, optimize=self._optimize)

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, with the way to the device: the service is what measures it there."""
        return lambda: self(feed)
