"""A study on a cluster whose nodes, of one CPU each, come and go as they are needed; its head has none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster, local_cluster

pytest.importorskip("ray.autoscaler._private.fake_multi_node.node_provider", reason="Ray's nodes for tests")

STUDY = """
task: digits
parent:
  epochs: 1
  training: {batch_size: 8}  # so that an epoch takes its time
  architecture:
    family: resnet
    stages: 2
    stem: {width: 8}
    stage1: {depth: 1, width: 8, kernel: 3, block: basic}
    stage2: {depth: 1, width: 16, kernel: 3, block: basic}
space:
  pruning: {channel_pruning: {max_ratio: 0.5, multiple: 4}}
objectives: [maximize accuracy, minimize size_mb]
search:
  num_trials: 2
  epochs: 6
  screen: 1
  scheduler: full_training
  workers: 2
  resources: {cpu: 1, labels: {market-type: spot}}
"""
TRAINERS = {
    "trainer": {"resources": {"CPU": 1}, "labels": {"market-type": "spot"}, "max_workers": 2},
}
SETTINGS = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "2", "RAY_enable_infeasible_task_early_exit": "true"}


@pytest.fixture
def scaled() -> Iterator[LocalCluster]:
    """An autoscaler's head, whose folder has a name short enough for sockets."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder,
        local_cluster(Path(folder), TRAINERS, **SETTINGS) as cluster,
    ):
        yield cluster
    assert not cluster.nodes()


def run(cluster: LocalCluster, folder: Path, *settings: str) -> subprocess.Popen[str]:
    """The study as its user runs it, on this cluster."""
    (folder / "study.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "raysearch.cli", "run", str(folder / "study.yaml")]
    command += ["--out", str(folder / "run"), *[f"--set={setting}" for setting in settings]]
    environment = {**cluster.environment, "RAY_ADDRESS": cluster.address}
    output = (folder / "output").open("w")
    return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "run" / "journal.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def until(what: Callable[[], Any], study: subprocess.Popen[str], folder: Path, seconds: float = 300) -> None:
    """Wait for something; fails with the study's output where that has ended, or takes too long."""
    end = time.monotonic() + seconds
    while not what():
        if study.poll() is not None or time.monotonic() > end:
            pytest.fail((folder / "output").read_text())
        time.sleep(0.2)


def both_train(folder: Path) -> bool:
    """Whether both trials have trained for an epoch, and neither is at its end."""
    steps = {event["trial"]: event["step"] for event in events(folder) if event["event"] == "report"}
    return all(1 <= steps.get(trial, 0) <= 3 for trial in ("0000", "0001"))


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_nodes_come_on_demand_go_when_idle_and_a_notice_costs_no_failure(
    scaled: LocalCluster, tmp_path: Path
) -> None:
    assert not scaled.nodes()
    begun = time.monotonic()
    study = run(scaled, tmp_path)
    try:
        until(lambda: both_train(tmp_path), study, tmp_path)
        nodes = scaled.nodes()
        assert len(nodes) == 2  # of one CPU each: one trial is on either
        os.kill(nodes[0], signal.SIGTERM)
        until(lambda: nodes[0] not in scaled.nodes(), study, tmp_path, 60)
        ended = {event["trial"] for event in events(tmp_path) if event["event"] == "end"}
        assert not ended & {"0000", "0001"}  # the notice fell in the middle of a trial
        study.wait(300)
    finally:
        study.kill()
    output = (tmp_path / "output").read_text()
    assert study.returncode == 0, output
    assert "waiting for a node with 1 CPU and the label market-type=spot" in output
    found = events(tmp_path)
    reports = Counter((event["trial"], event["step"]) for event in found if event["event"] == "report")
    assert max(reports.values()) == 1
    assert all((trial, step) in reports for trial in ("0000", "0001") for step in range(8))
    assert {event["outcome"] for event in found if event["event"] == "end"} == {"finished"}
    assert found[-1]["action"] == "finish"
    end = time.monotonic() + 120
    while scaled.nodes():
        assert time.monotonic() < end, "a node stayed though nothing ran"
        time.sleep(0.5)
    print(f"{time.monotonic() - begun:.0f} s")


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_what_no_node_to_come_has_is_one_sentence(scaled: LocalCluster, tmp_path: Path) -> None:
    study = run(scaled, tmp_path, "search.resources.cpu=4")
    assert study.wait(200) == 2
    sentence = "4 CPUs and the label market-type=spot, and no node that the cluster may start has it"
    assert sentence in " ".join((tmp_path / "output").read_text().split())
    assert not scaled.nodes()
