"""A network in two files, the second of which runs on the inputs that the first does not answer.

The first gives "output", "leaves" (booleans, whether an input is answered by that) and what goes on, in the
order of the second's inputs; the second may read the network's own inputs too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import onnx

from raysearch.backends.base import Array, CompiledModel, Feed


class Loader(Protocol):
    """What loads a model file: a ``Backend``, for one."""

    def load(self, path: Path) -> CompiledModel:
        """A session on a file."""


class Cascade:
    """The two files in their runtime.

    Args:
        backend: where they run.
        early: the first file.
        late: the second.

    Raises:
        MeasurementError: the runtime refuses one of them.
    """

    def __init__(self, backend: Loader, early: Path, late: Path) -> None:
        self._early, self._late = backend.load(early), backend.load(late)
        self._inputs = [value.name for value in onnx.load(str(late)).graph.input]

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch, which is not run to its end where all of it leaves."""
        output, leaves, *cut = self._early(feed)
        if leaves.all():
            return (output,)
        going_on = iter(cut)
        given = {name: feed[name] if name in feed else next(going_on) for name in self._inputs}
        (last,) = self._late(given)
        last[leaves] = output[leaves]
        return (last,)
