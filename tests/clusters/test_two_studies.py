"""Two studies on one cluster of two CPUs, each of which would take both."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from cluster_study import RunningStudy
from local_cluster import local_cluster

QUICK = ("search.epochs=1", "parent.training.batch_size=64")


def at_work(study: RunningStudy, time: float) -> int:
    """The trials that were at work at a time, or waited for a worker."""
    begun = {event["trial"] for event in study.events("suggestion") if event["time"] <= time}
    return len(begun - {event["trial"] for event in study.events("end") if event["time"] <= time})


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_second_study_has_its_share_while_the_first_goes_on(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder,
        local_cluster(Path(folder)) as cluster,
    ):
        cluster.join("--num-cpus=2")
        studies = [RunningStudy(cluster, tmp_path / "first", "search.num_trials=99", *QUICK)]
        try:
            first = studies[0]
            first.until(lambda: any(event["trial"] == "0001" for event in first.events("suggestion")))
            studies.append(RunningStudy(cluster, tmp_path / "second", *QUICK))
            second = studies[1]
            second.until(lambda: second.events("end"))
            assert first.process.poll() is None  # the second did not wait for its end
        finally:
            for study in studies:
                study.process.kill()
    trained = next(event["time"] for event in second.events("report"))
    assert at_work(first, trained) == at_work(second, trained) == 1
    assert (
        max(at_work(first, event["time"]) for event in first.events("suggestion")) == 2
    )  # while it was alone
    assert {event["outcome"] for study in studies for event in study.events("end")} == {"finished"}
