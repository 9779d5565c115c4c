"""The lock that keeps all but one from measuring on a machine."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import threading

import pytest

from raysearch.backends.base import MeasurementError
from raysearch.backends.measurement.lock import exclusive_device

HOLD = """
import time
from raysearch.backends.measurement.lock import exclusive_device
with exclusive_device():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A directory for temporary files that this test alone uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_another_process_waits_and_a_dead_one_holds_nothing(machine):
    environment = {**os.environ, "TMPDIR": str(machine)}
    other = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE)
    held = threading.Event()

    def take() -> None:
        with exclusive_device():
            held.set()

    try:
        assert other.stdout.readline() == b"held\n"
        threading.Thread(target=take, daemon=True).start()
        assert not held.wait(0.3)
    finally:
        other.kill()
        other.communicate()
    assert held.wait(10)


def test_it_can_be_taken_again_after_an_error():
    with pytest.raises(RuntimeError), exclusive_device():
        raise RuntimeError
    with exclusive_device():
        pass


def test_every_user_of_the_machine_may_use_the_file(machine):
    before = os.umask(0o077)
    try:
        with exclusive_device():
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((machine / "raysearch-device.lock").stat().st_mode) == 0o666


def test_a_file_that_cannot_be_opened_is_named(machine, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(machine / "nowhere"))
    message = r"raysearch-device\.lock cannot be opened: No such file"
    with pytest.raises(MeasurementError, match=message), exclusive_device():
        pass
