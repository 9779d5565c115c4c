"""A board over SSH, by the system's own ``ssh``: its configuration, keys and agents are the user's.

One connection does a job: the program, the model and its inputs go down it, the results come back, and its
end is the end of the work there. So a board needs no sftp, a key is used once a job, and a connection that is
cut leaves neither a running model nor a folder.
"""

from __future__ import annotations

import math
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from raysearch.backends.base import MeasurementError
from raysearch.backends.boards import folder as names
from raysearch.backends.boards import receiver
from raysearch.backends.boards.jobs import LONGEST_S, BoardLost
from raysearch.basics.failures import MissingFile, UserError

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_ADDRESS = re.compile(rf"(?:({_NAME})@)?({_NAME}|\[[0-9A-Za-z:.%]+\])(?::(\d{{1,5}}))?", re.ASCII)
_PYTHON = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./~+-]*", re.ASCII)
# What the shell there reads: fixed, but for the interpreter, whose letters mean nothing to a shell.
_START = '-c "import sys; exec(sys.stdin.buffer.readline())"'

_SSH_FAILED = 255
# ssh's own words on what went wrong before anything ran, and what a user should know of it.
_REFUSALS = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "shows another host key than the known one and is refused: "
    "if it was set up anew, run `ssh-keygen -R {known}`, then `{login}`, and compare the fingerprint",
    "host key is known": "has an unknown host key: run `{login}` once and compare the fingerprint",
    "Permission denied": "lets nobody in without a password: try `ssh-copy-id`, or give `identity`",
}


@dataclass(frozen=True)
class Ssh:
    """A board that the system's ``ssh`` reaches without a password, its host key known.

    Attributes:
        host: its name, its address, or a Host of ~/.ssh/config; an IPv6 address in brackets.
        user: the user there; None leaves it to ssh.
        port: 1..65535; None leaves it to ssh.
        identity: the file of a private key, used alone; None leaves it to ssh and its agent.
        python: the Python there, at least 3.10, with numpy and the runtime.
        connect_timeout_s: how long it may take to answer and to start Python, above 0.
        config: a configuration file in place of ~/.ssh/config.

    Raises:
        UserError: a value is none of these, or the system has no ssh.
    """

    host: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    python: str = "python3"
    connect_timeout_s: float = 10.0
    config: Path | None = None

    def __post_init__(self) -> None:
        if _ADDRESS.fullmatch(self._login) is None:
            raise UserError(f"ssh: {self._login!r} names no board: give user@board or user@board:port")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise UserError(f"ssh: port {self.port} of {self._login} is none: give one from 1 to 65535")
        if not isinstance(self.python, str) or _PYTHON.fullmatch(self.python) is None:
            raise UserError(
                f"python of board {self._login} is {self.python!r}: give a path of letters, digits and ._/~+-"
            )
        seconds = self.connect_timeout_s
        if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
            raise UserError(
                f"connect_timeout_s of board {self._login} is {self.connect_timeout_s}: give seconds"
            )
        for field, path in (("identity", self.identity), ("config", self.config)):
            if path is not None and not path.is_file():
                raise MissingFile(f"{field} {path} of board {self._login} does not exist")
        if shutil.which("ssh") is None:
            raise UserError(
                f"board {self._login} needs the program ssh on this machine: install OpenSSH's client"
            )

    @classmethod
    def parse(cls, address: str, **options: Any) -> Ssh:
        """The board of an address.

        Args:
            address: "board", "user@board" or "user@board:port".
            **options: see the class: identity, python, connect_timeout_s, config.

        Raises:
            UserError: it is no such text; see also the class.
        """
        found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if found is None:
            raise UserError(f"ssh: {address!r} names no board: give user@board or user@board:port")
        user, host, port = found.groups()
        return cls(host, user, None if port is None else int(port), **options)

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return f"board {self.address}"

    @property
    def address(self) -> str:
        """What ``parse`` takes."""
        return self._login + ("" if self.port is None else f":{self.port}")

    @property
    def _login(self) -> str:
        return self.host if self.user is None else f"{self.user}@{self.host}"

    def perform(self, folder: Path) -> None:
        """Do a job's folder on the board.

        Raises:
            BoardLost, MeasurementError: see ``Board.perform``.
        """
        with tempfile.TemporaryFile() as errors:
            pipe = subprocess.PIPE
            with subprocess.Popen(self._command(), stdin=pipe, stdout=pipe, stderr=errors) as process:
                sender = threading.Thread(target=_send_job, args=(process.stdin, folder), daemon=True)
                sender.start()
                try:
                    ready, done = self._answers(process, folder)
                finally:
                    process.kill()
                    sender.join()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()
        if not ready:
            raise BoardLost(self._no_start(process.returncode, said))
        if done is None:
            raise BoardLost(self._no_end(process.returncode, said))
        self._check_end(done["exit"], done["said"])

    def _command(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(math.ceil(self.connect_timeout_s)),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ClearAllForwardings": "yes",
            "RequestTTY": "no",
            "LogLevel": "INFO",
        }
        if self.identity is not None:
            options["IdentitiesOnly"] = "yes"
        given = {"-F": self.config, "-i": self.identity, "-p": self.port}
        return [
            "ssh",
            *(text for name, value in options.items() for text in ("-o", f"{name}={value}")),
            *(text for flag, value in given.items() if value is not None for text in (flag, str(value))),
            "--",
            self._login.replace("[", "").replace("]", ""),  # ssh wants an IPv6 address without them
            f"{self.python} {_START}",
        ]

    def _answers(self, process: subprocess.Popen[bytes], folder: Path) -> tuple[bool, dict[str, Any] | None]:
        """Whether the board's end started, and what it said of the job; results come into the folder."""
        assert process.stdout is not None
        results = (names.OUTPUTS, names.RESULT)
        if _within(self.connect_timeout_s, process, folder, ()) is None:
            return False, None
        return True, _within(LONGEST_S, process, folder, results)

    def _no_start(self, code: int, said: str) -> str:
        """Why nothing ran there."""
        last = (said.splitlines() or ["it said nothing"])[-1]
        if code < 0:
            return f"{self.name} does not answer: no word within {self.connect_timeout_s:g} s"
        if code != _SSH_FAILED:
            return f"{self.name} cannot start {self.python} ({last}): give the Python there as `python`"
        for words, meaning in _REFUSALS.items():
            if words in said:
                login = self._login if self.port is None else f"-p {self.port} {self._login}"
                known = self.host if self.port is None else f"'[{self.host.strip('[]')}]:{self.port}'"
                return f"{self.name} {meaning.format(login=f'ssh {login}', known=known)}"
        return f"{self.name} does not answer: {last}"

    def _no_end(self, code: int, said: str) -> str:
        """Why what ran there did not tell its end."""
        last = (said.splitlines() or [""])[-1]
        if code < 0:
            return f"the job on {self.name} did not end within {LONGEST_S} s"
        if code == _SSH_FAILED and last:
            return f"the connection to {self.name} was cut before a result came ({last})"
        return (
            f"raysearch's process on {self.name} was killed, or failed, before a result came ({last or code})"
        )

    def _check_end(self, code: int | None, last: str) -> None:
        """How the program that does the job ended there.

        Raises:
            BoardLost: it failed: what a model is the reason of comes as a result.
            MeasurementError: it was killed, as a runtime is by a model that it cannot bear.
        """
        if code is None:
            raise BoardLost(f"{self.name} could not take the job: {last}")
        if code < 0:
            name, why = signal.Signals(-code).name, "the runtime crashed there, or its memory ran out"
            raise MeasurementError(f"the program died of {name} on {self.name}: {why}")
        if code > 0:
            needs = (
                " (Python 3.10, numpy and the runtime are needed there)" if "No module named" in last else ""
            )
            raise BoardLost(f"the program failed on {self.name}: {last or f'exit code {code}'}{needs}")


def _within(
    seconds: float, process: subprocess.Popen[bytes], folder: Path, allowed: tuple[str, ...]
) -> dict[str, Any] | None:
    """What the board's end says next; None where it says nothing within the seconds, or ends before."""
    assert process.stdout is not None
    too_late = threading.Timer(seconds, process.kill)
    too_late.start()
    try:
        return receiver.receive(process.stdout, str(folder), allowed=allowed)
    except (EOFError, ValueError):
        process.wait()
        return None
    finally:
        too_late.cancel()


def _send_job(stream: IO[bytes], folder: Path) -> None:
    """Send the board's end and the job; the stream stays open, or the board would take it for cut."""
    source = Path(receiver.__file__).read_text(encoding="utf-8")
    start = f"exec({source!r}); serve({names.PROGRAM!r}, {[names.OUTPUTS, names.RESULT]!r})\n"
    try:
        stream.write(start.encode())
        receiver.send(stream, {}, sorted(map(str, folder.iterdir())))
    except OSError:  # ssh ended, and tells why; what is still in the buffer goes nowhere
        with suppress(OSError):
            stream.close()
