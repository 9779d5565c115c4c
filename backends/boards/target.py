"""A target that is a board: what it is asked travels there, one job at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raysearch.backends.base import Array, Backend, CompiledModel, Feed, MeasurementError
from raysearch.backends.boards.command import Command
from raysearch.backends.boards.jobs import describe, measure, run
from raysearch.backends.boards.ssh import Ssh
from raysearch.backends.measurement.protocol import Figures, Protocol
from raysearch.backends.sent import Sent, check_timed
from raysearch.basics.failures import UserError

_OF_SSH = ("python", "identity", "config", "connect_timeout_s")


@dataclass(frozen=True)
class OnBoard(Sent):
    """A runtime on a board.

    Attributes:
        board: the way to it.
    """

    board: Ssh | Command

    @classmethod
    def of(cls, inner: Backend, given: Mapping[str, Any]) -> OnBoard:
        """A target from its description.

        Args:
            inner: the runtime, as it is on the board.
            given: of the keys "ssh" (with "python", "identity", "config", "connect_timeout_s") or "command".

        Raises:
            UserError: the keys are those of no board, or a value is none.
        """
        if ("ssh" in given) == ("command" in given):
            raise UserError(
                f"target {inner.name!r}: a board is reached by ssh or by a command, give one of them"
            )
        check_timed(inner)
        if getattr(inner, "meter", None):
            raise UserError(f"target {inner.name!r}: a meter is not read on a board, leave it out")
        if "command" in given:
            if others := given.keys() - {"command"}:
                raise UserError(f"target {inner.name!r}: {min(others)} is for boards over ssh")
            return cls(inner, board=Command(given["command"]))
        options = {key: given[key] for key in _OF_SSH if key in given}
        for key in ("identity", "config"):
            if key in options:
                if not isinstance(options[key], str):
                    raise UserError(f"target {inner.name!r}: {key} is {options[key]!r}, give a path")
                options[key] = Path(options[key]).expanduser()
        return cls(inner, board=Ssh.parse(given["ssh"], **options))

    def spec(self) -> dict[str, Any]:
        """What the board is reached by, as ``of`` takes it."""
        if isinstance(self.board, Command):
            return {"command": list(self.board.argv)}
        default = Ssh(self.board.host)
        options = {key: getattr(self.board, key) for key in _OF_SSH}
        changed = {key: value for key, value in options.items() if value != getattr(default, key)}
        return {
            "ssh": self.board.address,
            **{key: str(value) if isinstance(value, Path) else value for key, value in changed.items()},
        }

    def unavailable(self) -> str | None:
        """Why the board cannot run the target: it does not answer, or lacks the runtime."""
        try:
            reason: str | None = self._said["unavailable"]
        except MeasurementError as error:
            return str(error)
        return None if reason is None else f"on {self.board.name}: {reason}"

    def weight_bits(self) -> int:
        """What the board says; 7, which is exact everywhere, where it cannot find out."""
        return int(self._said["weight_bits"] or 7)

    def version(self) -> str:
        """The runtime's version there."""
        return str(self._said["version"])

    def device(self) -> str:
        """The board's processor."""
        return str(self._said["device"])

    def load(self, path: Path, *, optimize: bool = True) -> CompiledModel:
        """A model that is run there; in a run through the service, so that nobody measures meanwhile.

        A file that the board cannot run is refused when it is run.
        """
        return super().load(path, optimize=optimize) if self.service else OnBoardModel(self, path)

    def compare(self, model: Path, reference: Path, example: Feed, protocol: Protocol) -> Figures:
        """Measure a model against a reference, on the board; see ``boards.measure``."""
        return measure(self.board, self._job, model, reference, example, protocol)

    @property
    def _job(self) -> dict[str, Any]:
        from raysearch.backends import spec_of

        spec = spec_of(self.inner)
        return {"runtime": spec} if isinstance(spec, str) else dict(spec)

    @property
    def _said(self) -> dict[str, Any]:
        return _asked(self)


class OnBoardModel:
    """A model file that a board runs; each batch is a job of its own."""

    def __init__(self, target: OnBoard, path: Path) -> None:
        self._target, self._name, self._content = target, path.name, path.read_bytes()

    def __call__(self, feed: Feed) -> tuple[Array, ...]:
        """The outputs of a batch."""
        target = self._target
        with tempfile.TemporaryDirectory(prefix="raysearch-sent-") as folder:
            path = Path(folder) / self._name
            path.write_bytes(self._content)
            return next(run(target.board, target._job, path, [feed]))

    def runner(self, feed: Feed) -> Callable[[], object]:
        """One inference a call, with the way to the board and back: ``compare`` measures it there."""
        return lambda: self(feed)


@cache
def _asked(target: OnBoard) -> dict[str, Any]:
    return describe(target.board, target._job)
