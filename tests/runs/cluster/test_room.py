"""Room for a first trial."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray.exceptions import TaskUnschedulableError

from raysearch.basics.failures import UserError
from raysearch.runs.cluster import nodes, room
from raysearch.runs.cluster.demand import Demand
from raysearch.runs.cluster.nodes import Nodes
from raysearch.runs.cluster.room import await_room

ONE = Demand({"CPU": 1}, {"zone": "a"})


class FakeRay:
    """A cluster of given nodes, whose one task is placed after so many looks, or never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, labels: Any, looks: float, scaled: bool) -> None:
        alive = ({"NodeID": "n", "Labels": labels, "Resources": {"CPU": 1.0}},)
        self.looks, self.cancelled, self.failure = looks, 0, None
        monkeypatch.setattr(Nodes, "now", lambda: Nodes(alive))
        monkeypatch.setattr(room, "is_scaled", lambda: scaled)
        monkeypatch.setattr(room, "is_own", lambda: False)
        monkeypatch.setattr(room, "_PATIENCE_S", 0.1)
        monkeypatch.setattr(room, "ray", self)

    def remote(self, function: Any = None) -> Any:
        return self

    def options(self, **given: Any) -> Any:
        assert given["label_selector"] == {"zone": "a"}
        return self

    def wait(self, tasks: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        self.looks -= 1
        if self.looks == -5:
            raise KeyboardInterrupt
        return ([tasks], []) if self.looks == 0 else ([], tasks)

    def get(self, task: Any) -> None:
        if self.failure is not None:
            raise self.failure

    def cancel(self, task: Any) -> None:
        self.cancelled += 1


def test_a_node_that_is_there_needs_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    FakeRay(monkeypatch, {"zone": "a"}, looks=-1, scaled=False)
    await_room(ONE, said.append)
    assert said == []


def test_a_cluster_that_does_not_grow_is_known_from_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRay(monkeypatch, {"zone": "b"}, looks=1, scaled=False)
    with pytest.raises(
        UserError, match="asks for zone=a, and no node of the cluster has it; the values there"
    ):
        await_room(ONE, print)


def test_a_cluster_that_grows_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fake = FakeRay(monkeypatch, {}, looks=3, scaled=True)
    await_room(ONE, said.append)
    assert said == ["waiting for a node with 1 CPU and the label zone=a"]
    assert fake.looks == 0
    assert not fake.cancelled


def test_what_the_autoscaler_cannot_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(monkeypatch, {}, looks=1, scaled=True)
    fake.failure = TaskUnschedulableError("infeasible")
    sentence = "resources asks for 1 CPU and the label zone=a, and no node that the cluster may start has it$"
    with pytest.raises(UserError, match=sentence):
        await_room(ONE, print)


def test_ctrl_c_ends_the_wait_and_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(monkeypatch, {}, looks=0, scaled=True)
    with pytest.raises(KeyboardInterrupt):
        await_room(ONE, print)
    assert fake.cancelled == 1


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the head of another's cluster answers; the test says it."""
    from ray.core.generated import autoscaler_pb2
    from ray.experimental import internal_kv

    answers: dict[str, Any] = {"scaled": False, "report": b""}

    class Client:
        def get_cluster_status(self) -> bytes:
            reply = autoscaler_pb2.GetClusterStatusReply()
            if answers["scaled"]:
                reply.autoscaling_state.SetInParent()
            return bytes(reply.SerializeToString())

    monkeypatch.setattr(nodes, "is_own", lambda: False)
    monkeypatch.setattr(ray._private.worker.global_worker, "gcs_client", Client(), raising=False)
    monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda key: answers["report"])
    return answers


def test_an_autoscaler_is_known_by_what_it_reports(head: dict[str, Any]) -> None:
    assert not nodes.is_scaled()
    head["report"] = b'{"autoscaler_report": {"active_nodes": {"node_ab12": 1}}}'  # nodes of no type
    assert not nodes.is_scaled()
    head["report"] = b'{"autoscaler_report": {"active_nodes": {"ray.head.default": 1}}}'
    assert nodes.is_scaled()
    head.update(scaled=True, report=b"")
    assert nodes.is_scaled()


@pytest.mark.cluster
def test_a_cluster_of_this_process_does_not_grow(cluster: None) -> None:
    assert nodes.is_own()
    assert not nodes.is_scaled()
    await_room(Demand({"CPU": 1}), print)
    with pytest.raises(
        UserError, match=r"resources.gpu is 1 a trial, and no node of the cluster has more than 0"
    ):
        await_room(Demand({"CPU": 1, "GPU": 1}), print)
    assert Nodes.now().places(Demand({"CPU": 1})) == (2, 1)
