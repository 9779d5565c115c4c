"""Who may write a run: one driver at a time.

On a disk the journal is locked. Where there are no locks, in a bucket and on some network disks, a file
``lease.json`` names its owner and beats: another driver watches whether it does, by its own clock alone, and
takes over once it stood still for ``PERIOD_S``. An owner that could not renew it for half that time makes
sure that it is still its own before it writes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import json
import os
import socket
import threading
import time
import uuid
from typing import IO, Any, Protocol

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.basics.failures import RunError, UserError
from raysearch.storage import Place

FILE_NAME = "lease.json"
BEAT_S, PERIOD_S = 5.0, 30.0
_SETTLED_S = 2.0  # longer than from reading that nobody holds it to having written that one does
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class LeaseLost(RunError):
    """Another driver writes the run: this one stops."""


class Lease(Protocol):
    """The right to write a run."""

    @property
    def lost(self) -> bool:
        """Whether it is known to be gone."""

    def check(self) -> None:
        """Make sure of it.

        Raises:
            LeaseLost: it is gone.
        """

    def release(self) -> None:
        """Give it back."""


def take(folder: Place, journal: IO[bytes] | None) -> Lease:
    """The right to write the run in a folder.

    Args:
        folder: of the run.
        journal: its open file, where it is on a disk.

    Raises:
        UserError: another driver has it.
    """
    if journal is None:
        return Beating(folder)
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back when the process ends
    except OSError as error:
        if error.errno in _HELD:
            raise UserError(f"{folder} is being worked on by another process: wait for its end") from None
        return Beating(folder)  # a network disk without locks
    return _Locked(folder, journal)


class _Locked:
    """A lock on the journal, which the system gives back whatever ends the process."""

    def __init__(self, folder: Place, journal: IO[bytes]) -> None:
        self._folder, self._journal, self.lost = folder, journal, False

    def check(self) -> None:
        self.lost = self.lost or os.fstat(self._journal.fileno()).st_nlink == 0
        if self.lost:
            raise LeaseLost(f"{self._folder} was removed while it was worked on: nothing more is written")

    def release(self) -> None:
        """Nothing: closing the file does it."""


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Beating:
    """A file that beats as long as its owner lives.

    Raises:
        UserError: it beats for another, or cannot be written.
    """

    def __init__(self, folder: Place) -> None:
        self._folder, self._file = folder, folder / FILE_NAME
        self._mine = {"owner": uuid.uuid4().hex, "by": _who()}
        self._beat, self._taker = 0, ""
        self._renewing, self._ended = threading.Lock(), threading.Event()
        try:
            self._wait_for_others()
            storage.patiently(folder, self._write, missing_too=True)
            time.sleep(_SETTLED_S)
            found = storage.patiently(folder, self._read)
        except StorageError as error:
            raise UserError(f"the run folder cannot be used: {error}") from error
        if found.get("owner") != self._mine["owner"]:
            raise self._worked_on(found)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _worked_on(self, found: dict[str, Any]) -> UserError:
        return UserError(f"{self._folder} is being worked on by {found.get('by')}: wait for its end")

    def _wait_for_others(self) -> None:
        """Until the lease that is there is given back, or has stood still for long enough."""
        first = storage.patiently(self._folder, self._read)
        if not first:
            return
        storage.say(
            f"waiting for {PERIOD_S:.0f} s, whether {first.get('by')} still works on {self._folder}: it may "
            "have been killed"
        )
        until = _now() + PERIOD_S
        while _now() < until:
            time.sleep(BEAT_S / 2)
            found = storage.patiently(self._folder, self._read)
            if found and found != first:
                raise self._worked_on(found)
            if not found:
                break
        storage.say("")

    def _read(self) -> dict[str, Any]:
        """What the file says; empty where there is none, or it is half written."""
        try:
            found = json.loads(storage.read_once(self._file))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self) -> None:
        began = _now()
        self._beat += 1
        storage.write_once(self._file, json.dumps({**self._mine, "beat": self._beat}).encode())
        self._renewed = began

    def _renew(self) -> None:
        """One beat more, unless the file has another owner.

        Raises:
            LeaseLost: it has.
            Exception: whatever storage says where it cannot be reached.
        """
        with self._renewing:
            if not self._taker:
                found = self._read()
                if found.get("owner") == self._mine["owner"]:
                    self._write()
                    return
                self._taker = str(found.get("by", "somebody who has removed its lease"))
        self._refuse()

    def _refuse(self) -> None:
        raise LeaseLost(
            f"{self._folder} was taken over by {self._taker} while this process did not reach it: it stops "
            "here and writes nothing more"
        )

    def _keep(self) -> None:
        failed = 0
        while not self._ended.wait(BEAT_S):
            try:
                self._renew()
            except LeaseLost:
                return
            except Exception as error:
                if not storage.is_trouble(error):
                    raise
                failed += 1
                if failed > 1:  # a single error is nobody's concern, the next beat may reach it
                    storage.say(f"waiting for {self._folder}: {storage.reason_of(error)}")
            else:
                if failed > 1:
                    storage.say("")
                failed = 0

    @property
    def lost(self) -> bool:
        """See ``Lease``."""
        return bool(self._taker)

    def check(self) -> None:
        """See ``Lease``."""
        if self._taker:
            self._refuse()
        if _now() - self._renewed > PERIOD_S / 2:
            self._renew()

    def release(self) -> None:
        """See ``Lease``."""
        self._ended.set()
        self._thread.join(timeout=2 * BEAT_S)  # it may wait for an answer
        with contextlib.suppress(Exception):  # another takes over where it stands still
            if not self._taker and self._read().get("owner") == self._mine["owner"]:
                storage.remove(self._file)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"
