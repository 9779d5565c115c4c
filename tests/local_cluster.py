"""Clusters of several nodes on this machine, each a `ray start --block`, with or without an autoscaler."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HEAD = "f" * 51 + "00000"  # the name under which Ray's provider of nodes for tests knows the head
_HEAD_TYPE = "ray.head.default"  # written into that provider
_STORE = 100_000_000  # bytes of a node's object store
_LISTS = (
    "cluster_synced_files rsync_exclude rsync_filter initialization_commands setup_commands "
    "head_setup_commands worker_setup_commands head_start_ray_commands worker_start_ray_commands"
)


@dataclass
class LocalCluster:
    """A running cluster.

    Attributes:
        address: of its head.
        environment: for whoever connects.
        folder: of its session's files.
    """

    address: str
    environment: dict[str, str]
    folder: Path
    _nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a node and return its process, which drains the node on SIGTERM."""
        ports = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *ports]
        command += [f"--object-store-memory={_STORE}", *arguments]
        with (self.folder / f"node{len(self._nodes)}.log").open("w") as log:
            node = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._nodes.append(node)
        return node

    def join(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a node that joins the head."""
        return self.start(f"--address={self.address}", *arguments)

    def stop(self) -> None:
        """End the nodes, the head last, and whatever process of their session is left."""
        for node in reversed(self._nodes):
            if node.poll() is None:
                node.terminate()
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
        for process in [*self.nodes(), *self.left()]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def left(self) -> list[int]:
        """The processes that name the session's folder."""
        return [process for process, command in _commands() if f"{self.folder}/session" in command]

    def nodes(self) -> list[int]:
        """The processes of nodes that have joined, whoever started them."""
        joined = f"--address={self.address}"
        return [process for process, command in _commands() if "--block" in command and joined in command]


def _commands() -> list[tuple[int, str]]:
    """This machine's other processes, with the command of each."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                found.append(
                    (int(entry.name), (entry / "cmdline").read_text(errors="replace").replace("\0", " "))
                )
    return found


@contextmanager
def local_cluster(
    folder: Path, node_types: Mapping[str, Mapping[str, Any]] | None = None, **environment: str
) -> Iterator[LocalCluster]:
    """A head without CPUs, to which nodes may be joined; with node types an autoscaler starts nodes too.

    Args:
        folder: for its files; its path must be short, for it holds sockets.
        node_types: as in the file of `ray up`, by name.
        environment: of all its processes.
    """
    from ray.util import get_node_ip_address

    address = f"{get_node_ip_address()}:{_free_port()}"
    variables = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **environment,
    }
    head = ["--head", f"--port={address.split(':')[1]}", "--num-cpus=0", "--include-dashboard=false"]
    head += [f"--temp-dir={folder}"]
    if node_types is not None:
        head += [f"--autoscaling-config={_configuration(folder, address, node_types)}"]
        variables |= {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        variables |= {"RAY_CLOUD_INSTANCE_ID": _HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD}
    cluster = LocalCluster(address, variables, folder)
    try:
        cluster.start(*head)
        _await(address)
        for name in ("RAY_CLOUD_INSTANCE_ID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING"):
            variables.pop(name, None)
        yield cluster
    finally:
        cluster.stop()


def _configuration(folder: Path, address: str, node_types: Mapping[str, Mapping[str, Any]]) -> Path:
    """The file of an autoscaler whose nodes are processes of this machine; Ray has no defaults for it."""
    head = {_HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    workers = {name: {"node_config": {}, "min_workers": 0, **given} for name, given in node_types.items()}
    for each in workers.values():
        each["resources"] = {"object_store_memory": _STORE, **each["resources"]}
    provider = {
        "type": "external",
        "module": "node_processes.NodeProcesses",
        "gcs_address": address,
        "head_node_id": _HEAD,
        **dict.fromkeys(("use_node_id_as_ip", "launch_multiple"), True),
        **dict.fromkeys(("disable_node_updaters", "disable_launch_config_check"), True),
    }
    document = {
        "cluster_name": "local",
        "max_workers": sum(each["max_workers"] for each in node_types.values()),
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 1.0,
        "provider": provider,
        "available_node_types": {**head, **workers},
        "head_node_type": _HEAD_TYPE,
        **{name: {} for name in ("docker", "auth", "file_mounts")},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in _LISTS.split()},
    }
    path = folder / "autoscaling.json"
    path.write_text(json.dumps(document))
    return path


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def _await(address: str, seconds: float = 60) -> None:
    """Wait until something answers at an address."""
    host, port = address.split(":")
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
