"""A board over SSH, against a server on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysearch import backends
from raysearch.backends import boards
from raysearch.backends.base import MeasurementError
from raysearch.backends.boards import BoardLost, Ssh
from raysearch.backends.boards import ssh as ssh_boards
from raysearch.backends.measurement.lock import exclusive_device
from raysearch.backends.measurement.protocol import Protocol, measure, undisturbed
from raysearch.basics.failures import MissingFile, UserError

from .conftest import free_port, kill

SPEC = {"runtime": "onnxruntime-cpu"}
SHORT = Protocol(max_s=1.0)
ENDLESS = Protocol(max_s=300, min_rounds=1000, max_rounds=1000)

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def board(server) -> Ssh:
    return server.board


def said(board: Ssh, **changes) -> str:
    """What a board's refusal says."""
    with pytest.raises(BoardLost) as caught:
        boards.describe(replace(board, **changes), SPEC)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_board_says_what_it_is(board):
    here = backends.get("onnxruntime-cpu")
    found = boards.describe(board, SPEC)
    assert (found["unavailable"], found["version"]) == (None, here.version())
    assert (found["device"], found["weight_bits"]) == (here.device(), here.weight_bits())


def test_figures_are_those_of_this_machine(board, export, images):
    backend, example = backends.get("onnxruntime-cpu"), {"input": images[:1]}
    small, large = export(8), export(64)
    local, remote = [], []
    for _ in range(3):
        with exclusive_device(), undisturbed():
            runners = [backend.load(path).runner(example) for path in (large, small)]
            local.append(measure(*runners, SHORT).ratio)
        figures = boards.measure(board, SPEC, large, small, example, SHORT)
        remote.append(figures.ratio)
        assert figures.cpu_ms.shape == figures.reference_ms.shape
    assert len(figures.wall_ms) > len(figures.cpu_ms)
    assert np.median(local) > 1.5  # so that what differs could be seen
    assert np.median(remote) == pytest.approx(np.median(local), rel=0.1)


def test_a_reference_is_measured_against_itself(board, export, images):
    figures = boards.measure(board, SPEC, export(), export(), {"input": images[:1]}, SHORT)
    assert figures.ratio == pytest.approx(1, abs=0.1)


def test_outputs_are_those_of_this_machine(board, export, images, monkeypatch):
    monkeypatch.setattr("raysearch.backends.boards.jobs._CHUNK_BYTES", 20 * images[0].nbytes)
    batches = [{"input": images[i : i + 7]} for i in range(0, len(images), 7)]  # the last one is shorter
    model = backends.get("onnxruntime-cpu").load(export())
    found = list(boards.run(board, SPEC, export(), iter(batches)))
    assert len(found) == len(batches)
    for (answer,), batch in zip(found, batches, strict=True):
        np.testing.assert_array_equal(answer, model(batch)[0])


def test_no_file_name_reaches_a_shell(board, export, images, tmp_path):
    path = tmp_path / "a b; touch owned; $(touch owned) `touch owned` 'q\".onnx"
    shutil.copy(export(), path)
    (answers,) = next(boards.run(board, SPEC, path, [{"input": images}]))
    assert answers.shape == (64, 10)
    assert not list(tmp_path.glob("owned*"))


def test_what_a_login_prints_is_passed_over(board, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "Welcome"\necho\nexec {board.python} "$@"\n')
    python.chmod(0o755)
    assert boards.describe(replace(board, python=str(python)), SPEC)["unavailable"] is None


def test_a_model_that_the_runtime_refuses_is_said_as_it_is_here(board, tmp_path, images, export):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match=r"board \w+@127.*onnxruntime-cpu cannot load model\.onnx"):
        boards.measure(board, SPEC, path, export(), {"input": images}, SHORT)
    with pytest.raises(MeasurementError, match=r"onnxruntime-cpu cannot run the model: .*other"):
        list(boards.run(board, SPEC, export(), [{"other": images}]))


def test_an_unknown_host_is_refused_with_what_to_run(board, server, tmp_path):
    config = tmp_path / "config"
    config.write_text(f"Host *\n  UserKnownHostsFile {tmp_path}/none\n  GlobalKnownHostsFile /dev/null\n")
    text = said(board, config=config)
    assert f"has an unknown host key: run `ssh -p {board.port} {board.user}@127.0.0.1` once" in text
    assert not (tmp_path / "none").exists()


def test_a_changed_host_key_is_refused(board, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    key = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    (tmp_path / "known").write_text(f"[127.0.0.1]:{board.port} {key}\n")
    config = tmp_path / "config"
    # Even where the user's own file would have it accepted.
    config.write_text(f"Host *\n  UserKnownHostsFile {tmp_path}/known\n  StrictHostKeyChecking no\n")
    text = said(board, config=config)
    assert "shows another host key than the known one and is refused" in text
    assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in text


def test_a_key_that_is_not_let_in(board, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    assert "lets nobody in without a password" in said(board, identity=tmp_path / "other")


def test_nobody_listens(board):
    port = free_port()
    assert f":{port} does not answer: ssh: connect to host 127.0.0.1" in said(board, port=port)
    assert f"[::1]:{port} does not answer: ssh: connect to host ::1" in said(board, host="[::1]", port=port)


def test_a_host_that_says_nothing(board):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        text = said(board, port=silent.getsockname()[1], connect_timeout_s=1.0)
    assert "does not answer" in text
    assert time.monotonic() - start < 3


def test_a_board_that_lets_in_and_says_nothing(board, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 3\n")
    python.chmod(0o755)
    assert "does not answer: no word within 1 s" in said(board, python=str(python), connect_timeout_s=1.0)


def test_a_python_that_is_not_there(board):
    text = said(board, python="/no/such/python")
    assert "cannot start /no/such/python" in text
    assert "give the Python there as `python`" in text


def test_what_is_missing_there_is_said(board, python_with):
    hidden = "import sys\nsys.modules['onnxruntime'] = None\n"
    without = python_with(sitecustomize=hidden)
    assert boards.describe(without, SPEC)["unavailable"].startswith("onnxruntime is not installed")
    with pytest.raises(
        MeasurementError, match="'onnxruntime-cpu' is not available there: onnxruntime is not"
    ):
        list(boards.run(without, SPEC, Path(__file__), [{"x": np.zeros(1)}]))


def test_numpy_is_missing_there(python_with):
    without = python_with(numpy="raise ModuleNotFoundError(\"No module named 'numpy'\")")
    text = said(without)
    assert "No module named 'numpy' (Python 3.10, numpy and the runtime are needed there)" in text


def test_a_python_that_is_too_old(python_with):
    old = python_with(sitecustomize="import sys\nsys.version_info = (3, 9, 2, 'final', 0)\n")
    assert "Python 3.9 is too old: at least 3.10 is needed" in said(old)


def test_a_crash_of_the_runtime_is_told_from_a_cut(python_with, export, images):
    crash = "import os, signal\ndef __getattr__(name): os.kill(os.getpid(), signal.SIGSEGV)\n"
    crashing = python_with(onnxruntime=crash)
    with pytest.raises(
        MeasurementError, match=r"the program died of SIGSEGV on board .*: the runtime crashed"
    ):
        boards.measure(crashing, SPEC, export(), export(), {"input": images}, SHORT)


def measuring(server, export, images) -> tuple[threading.Thread, list[MeasurementError]]:
    """A measurement that has begun and does not end, and where its failure is put."""
    failures: list[MeasurementError] = []

    def work() -> None:
        try:
            boards.measure(server.board, SPEC, export(), export(), {"input": images[:1]}, ENDLESS)
        except MeasurementError as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.measuring():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return thread, failures


def test_a_connection_that_is_cut_leaves_no_figure(server, export, images):
    thread, failures = measuring(server, export, images)
    for pid in server.sessions():
        kill(pid)
    thread.join(10)
    (failure,) = failures
    assert isinstance(failure, BoardLost)
    assert str(failure).startswith(f"the connection to {server.board.name} was cut before a result came (")


def test_a_program_that_is_killed_is_no_cut(server, export, images):
    thread, failures = measuring(server, export, images)
    for pid in server.working():
        kill(pid)
    thread.join(10)
    (failure,) = failures
    assert not isinstance(failure, BoardLost)
    assert str(failure).startswith(f"the program died of SIGKILL on {server.board.name}: the runtime crashed")


def test_a_job_that_never_ends_is_ended(server, export, images, monkeypatch):
    monkeypatch.setattr(ssh_boards, "LONGEST_S", 4)
    thread, failures = measuring(server, export, images)
    thread.join(30)
    (failure,) = failures
    assert isinstance(failure, BoardLost)
    assert str(failure) == f"the job on {server.board.name} did not end within 4 s"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "-oProxyCommand=touch x",
        "user@-oX",
        "a b",
        "user@bo ard",
        "user@board:x",
        "u@b:1;ls",
        "a\nb",
        "@b",
        "a@",
        "b\u202e",
        7,
    ],
)
def test_addresses_that_name_no_board(address):
    with pytest.raises(UserError, match="names no board"):
        Ssh.parse(address)


def test_addresses_that_do():
    assert Ssh.parse("pi@board.local:2222") == Ssh("board.local", "pi", 2222)
    assert Ssh.parse("jetson") == Ssh("jetson")
    assert Ssh.parse("pi@[fe80::1%eth0]:22") == Ssh("[fe80::1%eth0]", "pi", 22)
    assert Ssh.parse("pi@10.0.0.7", python="~/venv/bin/python").name == "board pi@10.0.0.7"


def test_values_that_are_none():
    with pytest.raises(UserError, match="port 0 of pi@b is none"):
        Ssh.parse("pi@b:0")
    for python in ("-c", "python3; ls", "my python", "$(ls)", ""):
        with pytest.raises(UserError, match="python of board b is"):
            Ssh("b", python=python)
    for seconds in (0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="connect_timeout_s of board b is"):
            Ssh("b", connect_timeout_s=seconds)
    with pytest.raises(MissingFile, match="identity /no/key of board b does not exist"):
        Ssh("b", identity=Path("/no/key"))


def test_without_ssh_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs the program ssh"):
        Ssh("b")
