"""A small study that is run on a cluster in a process of its own, and what its journal says meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster

STUDY = """
task: digits
parent:
  epochs: 1
  training: {batch_size: 2}  # so that a trial is under way when the other one begins
  architecture:
    family: resnet
    stages: 2
    stem: {width: 8}
    stage1: {depth: 1, width: 8, kernel: 3, block: basic}
    stage2: {depth: 1, width: 16, kernel: 3, block: basic}
space:
  pruning: {channel_pruning: {max_ratio: 0.5, multiple: 4}}
objectives: [maximize accuracy, minimize size_mb]
search: {num_trials: 2, epochs: 6, screen: 1, scheduler: full_training}
"""


class RunningStudy:
    """The study at work in a folder.

    Args:
        cluster: that it runs on.
        folder: for its files; the run is in its folder "run".
        settings: of the study file, as in ``--set``.
    """

    def __init__(self, cluster: LocalCluster, folder: Path, *settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run, self._output = folder / "run", folder / "output"
        (folder / "study.yaml").write_text(STUDY)
        command = [sys.executable, "-m", "raysearch.cli", "run", str(folder / "study.yaml")]
        command += ["--out", str(self.run)]
        for setting in settings:
            command += ["--set", setting]
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                env={**cluster.environment, "RAY_ADDRESS": cluster.address},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has printed, in one line."""
        return " ".join(self._output.read_text().split())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The journal's events of a kind."""
        path = self.run / "journal.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in found if event["event"] == kind]

    def until(self, what: Callable[[], Any], seconds: float = 300) -> None:
        """Wait for something; the test fails where the study ends before, or it takes too long."""
        end = time.monotonic() + seconds
        while not what():
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the study ended with {self.process.returncode}: {self._output.read_text()}")
            time.sleep(0.2)

    def finish(self, seconds: float = 300) -> None:
        """Wait for its end; the test fails where that is a failure."""
        if self.process.wait(seconds) != 0:
            pytest.fail(self._output.read_text())
