"""A Ray cluster whose workers do not see the driver's folder: a head without CPUs, and a node that hides it.

The node's processes live in a mount namespace of their own (``unshare --mount``), where an empty file system
lies over the folder: for them it is a disk of another machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ray._raylet import GcsClient

_START = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]


def can_hide() -> bool:
    """Whether this machine lets a process hide a folder from its children."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def cluster_without(folder: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a driver on a cluster of one worker with a core, which sees it empty."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, mode = f"127.0.0.1:{port}", {"RAY_AUTH_MODE": "disabled"}  # a token would lie in a home
    environ = {**os.environ, **environment, **mode}
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as temporary:
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        worker = [*_START, f"--address={address}", "--num-cpus=1"]
        hidden = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount -t tmpfs none "$0" && exec "$@"',
            str(folder),
            *worker,
        ]
        with (
            _running([*_START, *head, f"--temp-dir={temporary}"], environ),
            _waited_for(port),
            _running(hidden, {**environ, "HOME": str(folder)}),
            _two_nodes(address),
        ):
            yield {**environment, **mode, "RAY_ADDRESS": address, "HOME": str(folder)}


@contextlib.contextmanager
def _running(command: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """A process with all its children, until the end."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def _two_nodes(address: str) -> Iterator[None]:
    """Waits for the worker."""
    deadline = time.monotonic() + 90
    while len(GcsClient(address=address).get_all_node_info()) < 2:
        assert time.monotonic() < deadline, "the worker does not start"
        time.sleep(0.5)
    yield


@contextlib.contextmanager
def _waited_for(port: int) -> Iterator[None]:
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    yield
