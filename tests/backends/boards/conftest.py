"""An SSH server of one's own on loopback, as a board: its own keys, port and folder for temporary files."""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from raysearch.backends.boards import Ssh

SSHD = Path("/usr/sbin/sshd")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Server:
    """A running server: how to reach it, and what it leaves behind."""

    board: Ssh
    pid: int
    temporary: Path
    known_hosts: Path

    def sessions(self) -> list[int]:
        """The processes that serve connections."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def folders(self) -> list[Path]:
        """The folders of jobs."""
        return list(self.temporary.glob("raysearch-board-*"))

    def measuring(self) -> bool:
        """Whether a job is at its measurement, in which it keeps the device to itself."""
        try:
            with (self.temporary / "raysearch-device.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def working(self) -> list[int]:
        """The processes that do a job."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes()
            except OSError:  # it ended meanwhile
                continue
            if str(self.temporary).encode() in command:
                found.append(int(path.parent.name))
        return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not SSHD.exists() or shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH's server and client")
    folder = tmp_path_factory.mktemp("sshd")
    for key in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(command, check=True)
    board = _board(folder, free_port())
    (folder / "temporary").mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        _wait_for(board.port, folder / "log")
        yield Server(board, process.pid, folder / "temporary", folder / "known_hosts")
    finally:
        process.terminate()
        process.wait()


def _board(folder: Path, port: int) -> Ssh:
    """The files of a server and of its only user."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a server of root's confines itself
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"KbdInteractiveAuthentication no\nSetEnv TMPDIR={folder}/temporary\n"
    )
    (folder / "ssh_config").write_text(
        f"Host *\n  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
    )
    return Ssh(
        "127.0.0.1", getpass.getuser(), port, folder / "user", sys.executable, config=folder / "ssh_config"
    )


def _wait_for(port: int | None, log: Path) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.skip(f"the SSH server does not start: {log.read_text()}")


@pytest.fixture
def python_with(server: Server, tmp_path: Path):
    """A board whose Python finds other modules first, given as texts by their names."""

    def make(**modules: str) -> Ssh:
        folder = tmp_path / "modules"
        folder.mkdir()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        return replace(server.board, python=str(python))

    return make


@pytest.fixture
def nothing_left(server: Server) -> Iterator[None]:
    """Soon after the test no process works for it, and no folder of it is there."""
    yield
    deadline = time.monotonic() + 10
    while server.working() or server.folders():
        assert time.monotonic() < deadline, (server.working(), server.folders())
        time.sleep(0.05)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
