"""One measurement at a time on a device, whoever measures."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysearch.backends.base import MeasurementError

MACHINE = "device"


@contextmanager
def exclusive_device(name: str = MACHINE) -> Iterator[None]:
    """Keep all others on this machine from measuring meanwhile; waits for its turn.

    A name other than that of the machine is of a device that is measured beside others: a GPU, a board.

    An advisory lock on a file in the directory for temporary files, which all users of the machine share, and
    all its containers that share that directory. The system frees it when the process dies.

    Raises:
        MeasurementError: the file can be neither opened nor made.
    """
    path = Path(tempfile.gettempdir()) / f"raysearch-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.lock"
    try:
        descriptor = _open(path)
    except OSError as error:
        raise MeasurementError(f"the device's lock file {path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """A descriptor of the file, made for all users where it is not there yet.

    Linux refuses O_CREAT for a file that another user made in a directory like /tmp, so what is there is only
    opened, and reading is all that a lock needs.
    """
    while True:
        try:
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # another was faster
            continue
        os.fchmod(descriptor, 0o666)  # the umask may have taken rights away
        return descriptor
