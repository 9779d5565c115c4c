"""What a trial takes of a node."""

from __future__ import annotations

from typing import Any

import pytest

from raysearch.runs.cluster.demand import Demand


def node(labels: dict[str, str] | None = None, **resources: float) -> dict[str, Any]:
    return {"NodeID": "n", "Alive": True, "Labels": labels or {}, "Resources": resources}


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({"cpu": 1, "gpu": 0}, 8),
        ({"cpu": 1, "gpu": 0.25}, 4),
        ({"cpu": 1, "gpu": 0.2}, 5),  # 1 // 0.2 is 4
        ({"cpu": 1, "gpu": 0.3}, 3),
        ({"cpu": 0.1, "gpu": 0}, 80),
        ({"cpu": 1, "memory_gb": 3}, 2),
        ({"cpu": 1, "custom": {"fpga": 2}}, 1),
        ({"cpu": 1, "gpu": 2}, 0),
        ({"cpu": 1, "custom": {"tpu": 1}}, 0),
    ],
)
def test_a_node_holds_as_many_trials_as_its_scarcest_resource(resources: Any, count: int) -> None:
    assert Demand.of(resources).fits(node(CPU=8.0, GPU=1.0, memory=8e9, fpga=3)) == count


def test_a_node_without_the_label_holds_none() -> None:
    demand = Demand.of({"cpu": 1, "labels": {"market-type": "spot"}})
    assert demand.fits(node({"market-type": "spot"}, CPU=2)) == 2
    assert demand.fits(node({"market-type": "on-demand"}, CPU=2)) == 0
    assert demand.fits({**node(CPU=2), "Labels": None}) == 0


def test_ray_and_tune_are_asked_for_the_same() -> None:
    given = {"cpu": 2, "gpu": 0.5, "memory_gb": 1.5, "custom": {"fpga": 1}, "labels": {"zone": "a"}}
    demand = Demand.of(given)
    assert demand.options() == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "memory": 1_500_000_000,
        "resources": {"fpga": 1},
        "label_selector": {"zone": "a"},
    }
    placement = demand.placement()
    assert placement.bundles == [{"CPU": 2.0, "GPU": 0.5, "memory": 1.5e9, "fpga": 1.0}]
    assert placement._kwargs["bundle_label_selector"] == [{"zone": "a"}]
    assert demand.without_gpu().options()["num_gpus"] == 0
    assert Demand.of({"cpu": 1.0, "gpu": 0.0}).options() == {"num_cpus": 1.0, "num_gpus": 0}


def test_a_demand_in_words() -> None:
    assert str(Demand.of({"cpu": 1})) == "1 CPU"
    words = str(Demand.of({"cpu": 2, "memory_gb": 4, "labels": {"market-type": "spot"}}))
    assert words == "2 CPUs, 4 GB of memory and the label market-type=spot"


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({"cpu": 4}, "resources.cpu is 4 a trial, and no node of the cluster has more than 2: ask for less"),
        ({"cpu": 1, "gpu": 1}, "resources.gpu is 1 a trial, and no node of the cluster has more than 0"),
        (
            {"cpu": 1, "memory_gb": 9},
            "resources.memory_gb is 9 a trial, and no node of the cluster has more than 8",
        ),
        ({"cpu": 1, "custom": {"fpga": 1}}, "resources.custom.fpga is 1 a trial, and no node .* more than 0"),
        (
            {"cpu": 1, "labels": {"zone": "c"}},
            "resources.labels asks for zone=c, and no node of the cluster has it; the values there are a, b",
        ),
        (
            {"cpu": 1, "labels": {"rack": "c"}},
            "resources.labels asks for rack=c, and no node of the cluster has it$",
        ),
        (
            {"cpu": 2, "labels": {"zone": "b"}},
            "resources asks for 2 CPUs and the label zone=b on one node, and no node of the cluster has all",
        ),
    ],
)
def test_what_no_node_has_is_one_sentence(resources: Any, sentence: str) -> None:
    import re

    nodes = [node({"zone": "a"}, CPU=2.0, memory=8e9), node({"zone": "b"}, CPU=1.0)]
    assert not any(map(Demand.of(resources).fits, nodes))
    assert re.match(sentence, Demand.of(resources).missing(nodes))


def test_a_head_without_nodes_is_one_sentence() -> None:
    sentence = "resources.cpu is 1 a trial, and no node of the cluster has more than 0: ask for less"
    assert Demand.of({"cpu": 1}).missing([node()]) == sentence
    assert Demand.of({"cpu": 1}).missing([]) == sentence
