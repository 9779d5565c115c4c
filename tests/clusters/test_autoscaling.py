"""A study on a cluster whose nodes, of one CPU each, come and go as they are needed; its head has none."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_study import RunningStudy
from local_cluster import LocalCluster, local_cluster

pytest.importorskip("ray.autoscaler._private.fake_multi_node.node_provider", reason="Ray's nodes for tests")

TRIALS = ("0000", "0001")
TRAINERS = {"trainer": {"resources": {"CPU": 1}, "labels": {"market-type": "spot"}, "max_workers": 2}}
SETTINGS = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "2", "RAY_enable_infeasible_task_early_exit": "true"}
SPOT = "search.resources.labels={market-type: spot}"


@pytest.fixture
def scaled() -> Iterator[LocalCluster]:
    """A cluster with an autoscaler, in a folder whose name is short enough for sockets."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder,
        local_cluster(Path(folder), TRAINERS, **SETTINGS) as cluster,
    ):
        yield cluster
    assert not cluster.nodes()


def in_the_middle(study: RunningStudy) -> bool:
    """Whether both trials have trained for an epoch, and neither is near its end."""
    steps = {event["trial"]: event["step"] for event in study.events("report")}
    return all(1 <= steps.get(trial, 0) <= 3 for trial in TRIALS)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nodes_come_on_demand_go_when_idle_and_a_notice_costs_no_failure(
    scaled: LocalCluster, tmp_path: Path
) -> None:
    assert not scaled.nodes()
    study = RunningStudy(scaled, tmp_path, "search.workers=2", SPOT)
    try:
        study.until(lambda: in_the_middle(study))
        nodes = scaled.nodes()
        assert len(nodes) == 2  # of one CPU each: one trial is on either
        os.kill(nodes[0], signal.SIGTERM)
        study.until(lambda: nodes[0] not in scaled.nodes(), 60)
        ended = {event["trial"] for event in study.events("end")}
        assert not ended.intersection(TRIALS)  # the notice fell in the middle of a trial
        study.finish()
    finally:
        study.process.kill()
    assert "waiting for a node with 1 CPU and the label market-type=spot" in study.output
    reports = Counter((event["trial"], event["step"]) for event in study.events("report"))
    assert max(reports.values()) == 1
    assert all((trial, step) in reports for trial in TRIALS for step in range(8))
    assert {event["outcome"] for event in study.events("end")} == {"finished"}
    assert study.events("session")[-1]["action"] == "finish"
    end = time.monotonic() + 120
    while scaled.nodes():
        assert time.monotonic() < end, "a node stayed though nothing ran"
        time.sleep(0.5)


@pytest.mark.cluster
def test_what_no_node_to_come_has_is_one_sentence(scaled: LocalCluster, tmp_path: Path) -> None:
    study = RunningStudy(scaled, tmp_path, "search.resources.cpu=4", SPOT)
    try:
        assert study.process.wait(200) == 2
    finally:
        study.process.kill()
    sentence = "4 CPUs and the label market-type=spot, and no node that the cluster may start has it"
    assert sentence in study.output
    assert not scaled.nodes()
