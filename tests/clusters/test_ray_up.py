"""The files of ``ray up``, by Ray's own validation and by what is known of both clouds offline."""

from __future__ import annotations

import copy
import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cluster_files import changed, read

from raysearch.backends.place import Place

CLOUDS = ("aws.yaml", "gcp.yaml")
TYPES = "available_node_types"
SPOT = {"aws.yaml": ("InstanceMarketOptions", "MarketType", "spot")}
SPOT["gcp.yaml"] = ("scheduling", "provisioningModel", "SPOT")


def prepared(document: dict[str, Any]) -> dict[str, Any]:
    """What ``ray up`` makes of a file before it asks the cloud.

    Raises:
        Exception: what it says of a wrong one.
    """
    util = pytest.importorskip("ray.autoscaler._private.util")
    pytest.importorskip("jsonschema")
    config: dict[str, Any] = util.prepare_config(copy.deepcopy(document))
    util.validate_config(config)
    return config


@pytest.mark.parametrize("name", [*CLOUDS, "on-premises.yaml"])
def test_ray_takes_the_file(name: str) -> None:
    config = prepared(read(name))
    assert config["cluster_name"] == "raysearch"
    assert config["head_start_ray_commands"] == read(name)["head_start_ray_commands"]


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("bogus", 1),
        (f"{TYPES}/cpu-trainers/bogus", 1),
        (f"{TYPES}/cpu-trainers/labels/role", 3),
        (f"{TYPES}/device/resources/served-on", "one"),
        ("head_node_type", "nobody"),
        ("max_workers", 0),
        ("docker/container_name", ""),
    ],
)
def test_ray_refuses_a_wrong_one(name: str, path: str, value: Any) -> None:
    with pytest.raises(Exception, match=r"."):
        prepared(changed(read(name), path, value))


def test_ray_refuses_wrong_machines_of_ones_own() -> None:
    for path, value in (("provider/head_ip", None), ("bogus", 1), ("auth", "me"), ("head_node", {"a": 1})):
        with pytest.raises(Exception, match=r"."):
            prepared(changed(read("on-premises.yaml"), path, value))


@pytest.mark.parametrize("name", CLOUDS)
def test_head_trainers_and_devices_are_what_a_search_wants(name: str) -> None:
    config = prepared(read(name))
    kinds = config[TYPES]
    head = kinds.pop(config["head_node_type"])
    assert (head["resources"]["CPU"], head["max_workers"]) == (0, 0)
    section, key, spot = SPOT[name]
    trainers = {n: kind for n, kind in kinds.items() if kind["labels"]["role"] == "train"}
    for kind in trainers.values():
        assert kind["resources"]["CPU"] > 0
        assert kind["min_workers"] == 0
        assert kind["labels"]["market-type"] == "spot"
        assert kind["node_config"][section][key] == spot
    (device,) = (kind for n, kind in kinds.items() if n not in trainers)
    assert device["resources"]["CPU"] == 0
    assert device["min_workers"] == 1
    assert section not in device["node_config"]
    options = config["docker"]["run_options"]
    assert {"--env=RAY_AUTH_MODE=token", "--env=RAY_enable_infeasible_task_early_exit=true"} <= {*options}
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}


@pytest.mark.parametrize("name", CLOUDS)
def test_a_target_finds_the_device_and_no_trainer(name: str) -> None:
    kinds = read(name)[TYPES].items()
    nodes = [
        {"NodeID": n, "Alive": True, "Labels": k.get("labels", {}), "Resources": k["resources"]}
        for n, k in kinds
    ]
    label = read(name)[TYPES]["device"]["labels"]["device"]
    assert Place.of("cpu", {"resource": "served-on"}).devices(nodes) == [("device", 0)]
    assert Place.of("cpu", {"labels": {"device": label}}).devices(nodes) == [("device", 0)]


def refused_by_ec2(config: dict[str, Any]) -> str:
    """What EC2's model says of a node's config, as arguments of RunInstances; nothing where it is right."""
    pytest.importorskip("botocore")
    import botocore
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    folders = (Path(botocore.__file__).parent / "data" / "ec2").iterdir()
    (packed,) = max(folders).glob("service-2.json*")
    raw = packed.read_bytes()
    model = ServiceModel(json.loads(gzip.decompress(raw) if packed.suffix == ".gz" else raw))
    arguments = {**config, "MinCount": 1, "MaxCount": 1}
    report = ParamValidator().validate(arguments, model.operation_model("RunInstances").input_shape)
    known = model.shape_for("InstanceType").enum
    kind = config["InstanceType"]
    return str(report.generate_report()) + ("" if kind in known else f"no instance type {kind}")


def test_ec2_takes_every_kind_of_node() -> None:
    kinds = prepared(read("aws.yaml"))[TYPES]
    assert {name: refused_by_ec2(kind["node_config"]) for name, kind in kinds.items()} == dict.fromkeys(
        kinds, ""
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("InstanceType", "c7i.huge"),
        ("Instancetype", "c7i.large"),
        ("InstanceMarketOptions/MarketType", 1),
        ("IamInstanceProfile/Names", "raysearch-worker"),
        ("BlockDeviceMappings/0/Ebs/VolumeSize", "120"),
    ],
)
def test_ec2_refuses_a_wrong_node(path: str, value: Any) -> None:
    assert refused_by_ec2(changed(read("aws.yaml")[TYPES]["cpu-trainers"]["node_config"], path, value))


def refused_by_google(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str = "") -> list[str]:
    """What Google's compute document says of a value; nothing where it is right."""
    if "$ref" in schema:
        return refused_by_google(value, schemas[schema["$ref"]], schemas, at)
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    # 64-bit integers are texts in this document; the client takes numbers as well.
    number = schema.get("format") in ("int64", "uint64") and isinstance(value, int)
    if not number and not isinstance(value, kinds[schema["type"]]):
        return [f"{at} is no {schema['type']}"]
    if value not in schema.get("enum", [value]):
        return [f"{at} is {value}"]
    if isinstance(value, list):
        return [text for each in value for text in refused_by_google(each, schema["items"], schemas, at)]
    found: list[str] = []
    for key, each in value.items() if isinstance(value, dict) else ():
        inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
        found += refused_by_google(each, inner, schemas, f"{at}/{key}") if inner else [f"{at} has no {key}"]
    return found


@pytest.fixture(scope="module")
def compute() -> dict[str, Any]:
    module = pytest.importorskip("googleapiclient")
    path = Path(module.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    return dict(document["schemas"])


def test_google_takes_every_kind_of_node(compute: dict[str, Any]) -> None:
    kinds = prepared(read("gcp.yaml"))[TYPES]
    found = {n: refused_by_google(k["node_config"], compute["Instance"], compute) for n, k in kinds.items()}
    assert found == {name: [] for name in kinds}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("machinetype", "c3-standard-4"),
        ("scheduling/provisioningModel", "CHEAP"),
        ("scheduling", [{"preemptible": True}]),
        ("disks/0/boot", "yes"),
        ("disks/0/initializeParams/sourceimage", "x"),
        ("serviceAccounts/0/scopes", "all"),
    ],
)
def test_google_refuses_a_wrong_node(compute: dict[str, Any], path: str, value: Any) -> None:
    wrong = changed(read("gcp.yaml")[TYPES]["cpu-trainers"]["node_config"], path, value)
    assert refused_by_google(wrong, compute["Instance"], compute)


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("jetson3", ["--num-cpus=0", '--resources={"desk":1}', "--labels=role=device,device=jetson"]),
        ("shared1", ["--labels=role=train,market-type=spot"]),
        ("tower", ["--labels=role=train,market-type=on-demand"]),
    ],
)
def test_each_machine_of_ones_own_joins_as_what_it_is(tmp_path: Path, host: str, options: list[str]) -> None:
    programs = tmp_path / "raysearch-env" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
    for name, text in {"hostname": f"echo {host}", "ray": 'echo $RAY_AUTH_MODE; printf "%s\\n" "$@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    command = read("on-premises.yaml")["worker_start_ray_commands"][-1]
    done = subprocess.run(
        ["bash", "-c", command],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "192.168.0.10"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["token", "start", "--address=192.168.0.10:6379", *options]


def test_the_head_of_ones_own_does_no_trials() -> None:
    start = read("on-premises.yaml")["head_start_ray_commands"][-1]
    for word in ("RAY_AUTH_MODE=token", "RAY_enable_infeasible_task_early_exit=true", "--num-cpus=0"):
        assert word in start.split()
