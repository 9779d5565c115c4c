"""A board that a command of the user's reaches: adb, a vendor's tool, a script."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raysearch.backends.base import MeasurementError
from raysearch.backends.boards.jobs import LONGEST_S, BoardLost
from raysearch.basics.failures import UserError

_PLACE = "{job}"


@dataclass(frozen=True)
class Command:
    """A board behind a command.

    The command brings the folder to the board, runs ``python3 raysearch.pyz .`` in it there, and brings
    result.json, and outputs.npz where there is one, back into the same folder. It is started without a shell.

    Attributes:
        argv: the command and its arguments; "{job}" in one of them becomes the folder's path.

    Raises:
        UserError: it is no list of texts, or none of them holds "{job}".
    """

    argv: Sequence[str]

    def __post_init__(self) -> None:
        if (
            not isinstance(self.argv, list | tuple)
            or not self.argv
            or not all(isinstance(a, str) for a in self.argv)
        ):
            raise UserError(f"command of a board is {self.argv!r}: give a list, [program, argument, ...]")
        if not any(_PLACE in argument for argument in self.argv[1:]):
            raise UserError(
                f"command of a board {list(self.argv)} never says {_PLACE}: put it where the folder goes"
            )
        object.__setattr__(self, "argv", tuple(self.argv))

    @property
    def name(self) -> str:
        """The command's own name."""
        return f"the board of command {self.argv[0]!r}"

    def perform(self, folder: Path) -> None:
        """Run the command on a job's folder.

        Raises:
            BoardLost: it cannot be started.
            MeasurementError: it ends with another exit code than 0, for whatever reason.
        """
        argv = [argument.replace(_PLACE, str(folder)) for argument in self.argv]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=LONGEST_S
            )
        except subprocess.TimeoutExpired:
            raise BoardLost(f"{self.name} did not end within {LONGEST_S} s") from None
        except OSError as error:
            raise BoardLost(f"{self.name} cannot be started: {error.strerror}") from None
        if done.returncode != 0:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            said = f": {lines[-1]}" if lines else " and said nothing"
            raise MeasurementError(f"{self.name} ended with exit code {done.returncode}{said}")
