"""clusters/kuberay, by the strict schemas of KubeRay's own definitions."""

from __future__ import annotations

import gzip
import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import ROOT, changed, pins, read

from raysearch.basics.failures import MissingFile, UserError

SCHEMAS = ROOT.parent / "shared" / "data" / "kuberay"
FILES = sorted(path.name for path in (ROOT / "clusters" / "kuberay").glob("*.yaml"))


def mistakes(document: dict[str, Any]) -> list[str]:
    """What KubeRay's definition says of a document; nothing where it is right."""
    jsonschema = pytest.importorskip("jsonschema")
    path = SCHEMAS / f"{document['kind'].lower()}-v1.schema.json.gz"
    if not path.is_file():
        pytest.skip(f"KubeRay's schemas are not at {SCHEMAS}")
    assert document["apiVersion"] == "ray.io/v1"
    schema = json.loads(gzip.decompress(path.read_bytes()))
    return [error.message for error in jsonschema.Draft4Validator(schema).iter_errors(document)]


def cluster(document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Where a document has its Ray cluster, and the cluster."""
    place = {
        "RayCluster": "spec",
        "RayJob": "spec/rayClusterSpec",
        "RayCronJob": "spec/jobTemplate/rayClusterSpec",
        "RayService": "spec/rayClusterConfig",
    }[document["kind"]]
    found: Any = document
    for key in place.split("/"):
        found = found[key]
    return place, found


@pytest.mark.parametrize("name", FILES)
def test_kuberay_takes_the_file(name: str) -> None:
    assert mistakes(read(f"kuberay/{name}")) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("bogus", 1),
        ("authOptions/mode", "tokens"),
        ("autoscalerOptions/version", "v3"),
        ("headGroupSpec/template/spec/containers/0/imagename", "x"),
        ("headGroupSpec/rayStartParams/num-cpus", 0),
        ("workerGroupSpecs/0/maxReplicas", None),
        ("workerGroupSpecs/0/labels/role", 3),
    ],
)
def test_kuberay_refuses_a_wrong_one(name: str, path: str, value: Any) -> None:
    document = read(f"kuberay/{name}")
    assert mistakes(changed(document, f"{cluster(document)[0]}/{path}", value))


@pytest.mark.parametrize("name", FILES)
def test_what_the_kinds_are_called_is_what_the_files_are_called(name: str) -> None:
    assert read(f"kuberay/{name}")["kind"].lower() == Path(name).stem


@pytest.mark.parametrize("name", [name for name in FILES if name != "rayservice.yaml"])
def test_head_trainers_and_devices_are_what_a_search_wants(name: str) -> None:
    spec = cluster(read(f"kuberay/{name}"))[1]
    assert spec["rayVersion"] == pins()["ray"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    head = spec["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    early = {"name": "RAY_enable_infeasible_task_early_exit", "value": "true"}
    assert early in head["template"]["spec"]["containers"][0]["env"]
    trainers, device = spec["workerGroupSpecs"]
    assert trainers["labels"] == {"role": "train", "market-type": "spot"}
    assert trainers["minReplicas"] == 0
    assert any("spot" in key for key in trainers["template"]["spec"]["nodeSelector"])
    assert device["labels"]["role"] == "device"
    assert device["resources"] == {"CPU": "0", "served-on": "1"}
    assert device["minReplicas"] == 1
    images = {group["template"]["spec"]["containers"][0]["image"] for group in (head, trainers, device)}
    assert len(images) == 1


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycronjob.yaml"])
def test_every_node_of_a_job_sees_the_study(name: str) -> None:
    document = read(f"kuberay/{name}")
    job = document["spec"].get("jobTemplate", document["spec"])
    command = job["entrypoint"].split()
    assert command[:2] == ["raysearch", "run"]
    assert "://" in command[command.index("--out") + 1]
    spec = job["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        (mount,) = container["volumeMounts"]
        assert command[2].startswith(mount["mountPath"] + "/")
        assert mount["name"] in [volume["name"] for volume in group["template"]["spec"]["volumes"]]
    assert job["shutdownAfterJobFinishes"] is True


def test_the_service_names_what_is_there() -> None:
    document = read("kuberay/rayservice.yaml")
    config = yaml.safe_load(document["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    spec = document["spec"]["rayClusterConfig"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (mount,) = group["template"]["spec"]["containers"][0]["volumeMounts"]
        assert application["args"]["run"].startswith(mount["mountPath"] + "/")
    module, _, name = application["import_path"].partition(":")
    pytest.importorskip("starlette", reason="ray[serve] is not installed")
    pytest.importorskip("ray.serve.schema").ServeDeploySchema.model_validate(config)
    if find_spec(module.rpartition(".")[0]) is None:
        pytest.skip("raysearch.serving is not there")
    build = getattr(import_module(module), name)
    with pytest.raises(UserError, match="'slow_ms' is unknown"):
        build({**application["args"], "slow_ms": 1})
    with pytest.raises(
        MissingFile, match="/runs/cifar"
    ):  # its arguments are known; the folder is the cluster's
        build(application["args"])
