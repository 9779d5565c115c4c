"""Two studies on one cluster of two CPUs, each of which would take both."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from cluster_study import RunningStudy
from local_cluster import local_cluster


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_second_study_has_its_share_while_the_first_goes_on(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder,
        local_cluster(Path(folder)) as cluster,
    ):
        cluster.join("--num-cpus=2")
        studies = [RunningStudy(cluster, tmp_path / "first", "search.num_trials=12", "search.epochs=2")]
        try:
            first = studies[0]
            first.until(lambda: len(first.events("suggestion")) >= 3 + 2)  # the references, and two trials
            studies.append(RunningStudy(cluster, tmp_path / "second", "search.epochs=2"))
            for study in reversed(studies):
                study.finish()
        finally:
            for study in studies:
                study.process.kill()
    first, second = studies
    trained = [event["time"] for event in second.events("report") if event["trial"] == "parent"]
    ends = [event["time"] for event in first.events("end")]
    assert trained[0] < ends[-1]  # the second did not wait for the first to end
    assert sum(end > trained[-1] for end in ends) >= 2  # nor the first for the second
    assert {event["outcome"] for study in studies for event in study.events("end")} == {"finished"}
    assert "shared with 1 other study" in first.output
