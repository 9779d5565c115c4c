"""Whatever is killed, stopped or damaged, a run goes on to the same end; its driver leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import chaos
from benchmarks.chaos import MEASURING, STUDY, WORKER, Kills, descendants, faults, left_of, lines, round_of
from raysearch.record.run_record import RunRecord

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(trials=3, workers=1, seed=0))
    return path


def wait_for(folder: Path, driver: subprocess.Popen[str], count: int) -> None:
    """Until the journal's story has so many lines."""
    while driver.poll() is None and lines(folder) < count:
        time.sleep(0.05)
    assert driver.poll() is None, driver.communicate()[0]


def ended(driver: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = driver.communicate(timeout=280)
    return driver.returncode, output


@pytest.mark.slow
def test_a_run_whose_processes_are_killed_tells_the_same_story(tmp_path: Path) -> None:
    found = round_of(tmp_path / "round", trials=3, workers=1, kills=Kills(1, 2, 1), seed=0)
    assert found["faults"] == []
    assert found["differ"] == 0, json.dumps(found["first"], indent=1)
    assert found["orphans"] == []


@pytest.mark.slow
def test_sigterm_ends_a_run_cleanly_and_what_is_lost_meanwhile_is_made_again(
    study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    driver = chaos.start("run", str(study), "--out", str(folder))
    wait_for(folder, driver, 18)  # the references, and something of a trial
    started = descendants(driver.pid)
    driver.send_signal(signal.SIGTERM)
    code, output = ended(driver)
    assert code == 130, output
    assert f"raysearch resume {folder}" in output
    assert (folder / "report.html").exists()
    assert RunRecord.load(folder).sessions[-1]["action"] == "interrupt"
    assert left_of(started) == []

    (folder / "references" / "parent.safetensors").unlink()
    (folder / "variants" / "parent" / "model.onnx").write_bytes(b"damaged")
    for checkpoint in folder.glob("trials/*/checkpoint.pt"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    code, output = ended(chaos.start("resume", str(folder), "--set", "search.num_trials=2"))
    assert code == 0, output
    assert "The run's folder holds" in output
    assert faults(folder) == []
    record = RunRecord.load(folder)
    assert len(record.searched()) == 2
    assert (record.sessions[-1]["action"], record.sessions[-1]["num_trials"]) == ("finish", 2)
    assert (folder / "references" / "parent.safetensors").exists()
    assert not (folder / "trials").exists()


@pytest.mark.slow
def test_two_signals_end_a_run_now(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    driver = chaos.start("run", str(study), "--out", str(folder))
    wait_for(folder, driver, 3)
    started = descendants(driver.pid)
    driver.send_signal(signal.SIGINT)
    time.sleep(0.2)
    driver.send_signal(signal.SIGINT)
    code, output = ended(driver)
    assert (code, "ended at once" in output) == (130, True), output
    assert not (folder / "report.html").exists()
    assert RunRecord.load(folder).sessions[-1]["action"] == "interrupt"
    assert left_of(started) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("names", [WORKER, MEASURING, ()], ids=["worker", "measuring", "driver"])
def test_a_process_that_stands_still_for_a_minute_does_no_harm(
    study: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder = tmp_path / "run"
    driver = chaos.start("run", str(study), "--out", str(folder))
    wait_for(folder, driver, 16)
    below = descendants(driver.pid)
    stopped = [pid for pid, (_, command) in below.items() if names and command.startswith(names)]
    for pid in stopped or [driver.pid]:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(60)
    for pid in stopped or [driver.pid]:
        os.kill(pid, signal.SIGCONT)
    code, output = ended(driver)
    assert code == 0, output
    assert faults(folder) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_long_search_survives_eighteen_kills(tmp_path: Path, workers: int) -> None:
    found = round_of(tmp_path / "round", trials=30, workers=workers, kills=Kills(), seed=workers)
    assert found["faults"] == []
    assert found["orphans"] == []
    assert found["differ"] in (0, None), json.dumps(found["first"], indent=1)
    assert sum(found["killed"].values()) == 18
