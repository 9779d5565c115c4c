"""Devices are counted where the cluster has them, and a place that none can be is a sentence."""

from pathlib import Path

import pytest

from raysearch import backends
from raysearch.backends import profiles
from raysearch.backends.files import measure_file
from raysearch.backends.on_nodes import OnNodes
from raysearch.backends.place import Place


def node(name, alive=True, labels=None, **resources):
    return {"NodeID": name, "Alive": alive, "Labels": labels or {}, "Resources": {"CPU": 2.0, **resources}}


NODES = [
    node("a", jetson=2.0),
    node("b", labels={"board": "pi"}, jetson=1.0),
    node("c", alive=False, jetson=1.0),
    node("d", labels={"board": "pi"}),
]


@pytest.mark.parametrize(
    ("place", "devices"),
    [
        (Place("jetson"), [("a", 0), ("a", 1), ("b", 0)]),
        (Place("jetson", (("board", "pi"),)), [("b", 0)]),
        (Place(labels=(("board", "pi"),)), [("b", 0), ("d", 0)]),
        (Place("tpu"), []),
    ],
)
def test_each_unit_of_a_resource_is_a_device(place, devices):
    assert place.devices(NODES) == devices


def test_what_is_missing_is_said_beside_what_there_is():
    assert Place("tpu", (("board", "pi"),)).missing(NODES) == (
        "no node of the cluster has the resource 'tpu' and the label board=pi: its resources are CPU, jetson"
    )


def test_a_target_with_a_place_is_described_as_it_was_asked_for():
    spec = {
        "name": "desk",
        "runtime": "onnxruntime-cpu",
        "threads": 2,
        "resource": "jetson",
        "labels": {"board": "pi"},
        "wait_minutes": 5.0,
    }
    made = backends.get(spec)
    assert isinstance(made, OnNodes)
    assert (made.name, made.threads, made.form) == ("desk", 2, "uint8")
    assert backends.spec_of(made) == spec
    assert made.unavailable() is None  # nothing is known of it before Ray runs
    assert made.weight_bits() == 7  # exact on whatever comes
    assert profiles.channel_multiple(made) == 8
    with pytest.raises(ValueError, match="is on nodes of a cluster"):
        measure_file(Path("model.onnx"), spec)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resource": 3}, "resource is 3, give the name of a Ray resource"),
        ({"resource": ""}, "resource is '', give the name"),
        ({"labels": ["pi"]}, r"labels is \['pi'\], give a mapping of texts"),
        ({"labels": {"board": 3}}, "labels is .*, give a mapping of texts"),
        ({"resource": "jetson", "wait_minutes": -1}, "wait_minutes is -1, give a number from 0 on"),
        ({"runtime": "ethos-u55-256", "resource": "bench"}, "nothing is timed on it"),
        ({"wait_minutes": 3}, "for devices by resource or labels, name one"),
        ({"resourse": "jetson"}, "did you mean 'resource'"),
    ],
)
def test_a_place_that_none_can_be(given, message):
    with pytest.raises(ValueError, match=message):
        backends.get({"name": "desk", "runtime": "onnxruntime-cpu", **given})
