"""A board behind a command: a small script plays adb, with a device's file system of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from raysearch import backends
from raysearch.backends import boards
from raysearch.backends.base import MeasurementError
from raysearch.backends.boards import BoardLost, Command
from raysearch.backends.protocol import Protocol
from raysearch.basics.failures import UserError

SPEC = {"runtime": "onnxruntime-cpu"}
ADB = """
import pathlib, shutil, subprocess, sys
device, job = map(pathlib.Path, sys.argv[1:])
there = device / "data"
shutil.copytree(job, there)
try:
    done = subprocess.run([sys.executable, "raysearch.pyz", "."], cwd=there, env={"TMPDIR": str(device)})
    for name in ("result.json", "outputs.npz"):
        if (there / name).exists():
            shutil.copy(there / name, job / name)
finally:
    shutil.rmtree(there)
sys.exit(done.returncode)
"""


@pytest.fixture
def phone(tmp_path: Path) -> Command:
    (tmp_path / "adb.py").write_text(ADB)
    (tmp_path / "device; of one's own").mkdir()
    return Command(
        [sys.executable, str(tmp_path / "adb.py"), str(tmp_path / "device; of one's own"), "{job}"]
    )


def script(code: str) -> Command:
    return Command([sys.executable, "-c", code, "--job={job}"])


def test_it_describes_measures_and_runs(phone, export, images):
    here = backends.get("onnxruntime-cpu")
    assert boards.describe(phone, SPEC)["version"] == here.version()
    example = {"input": images[:1]}
    figures = boards.measure(phone, SPEC, export(64), export(8), example, Protocol(max_s=0.5))
    assert figures.ratio > 1
    (answers,) = next(boards.run(phone, SPEC, export(), [{"input": images}]))
    np.testing.assert_array_equal(answers, here.load(export())({"input": images})[0])


def test_how_it_ended_is_said():
    with pytest.raises(MeasurementError, match=r"ended with exit code 3: no devices/emulators found$"):
        boards.describe(
            script("import sys; print('adb: no devices/emulators found'[5:], file=sys.stderr); sys.exit(3)"),
            SPEC,
        )
    with pytest.raises(MeasurementError, match="ended with exit code 1 and said nothing"):
        boards.describe(script("import sys; sys.exit(1)"), SPEC)
    with pytest.raises(MeasurementError, match="gave back no result"):
        boards.describe(script("pass"), SPEC)


def test_a_command_that_is_not_there():
    with pytest.raises(BoardLost, match="the board of command '/no/adb' cannot be started: No such file"):
        boards.describe(Command(["/no/adb", "{job}"]), SPEC)


def test_no_shell_sees_it(tmp_path):
    seen = tmp_path / "seen"
    code = f"import sys; open({str(seen)!r}, 'w').write(sys.argv[1])"
    with pytest.raises(MeasurementError, match="gave back no result"):
        boards.describe(Command([sys.executable, "-c", code, "$(id); {job} *"]), SPEC)
    assert seen.read_text().startswith("$(id); /")
    assert seen.read_text().endswith(" *")


@pytest.mark.parametrize("argv", ["adb {job}", [], [1, "{job}"], None])
def test_what_is_no_command(argv):
    with pytest.raises(UserError, match=r"give a list, \[program, argument, ...\]"):
        Command(argv)


def test_a_command_that_never_says_the_job():
    with pytest.raises(UserError, match=r"never says \{job\}: put it where the folder goes"):
        Command(["adb", "push"])
