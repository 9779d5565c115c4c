"""A provider of nodes for Ray's autoscaler: each node is a `ray start --block` on this machine.

Ray's own provider for tests starts a node's processes by itself, so that nothing is there to take the notice
of a spot instance.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)


class NodeProcesses(FakeMultiNodeProvider):
    """Knows nodes as its base class does, and starts and ends each as a process."""

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: Any, labels: Any
    ) -> None:
        with self.lock:
            name, own = self._next_hex_node_id(), dict(resources)
            amounts = [
                f"--num-cpus={own.pop('CPU', 0)}",
                f"--object-store-memory={own.pop('object_store_memory')}",
            ]
            named = ",".join(f"{key}={value}" for key, value in labels.items())
            command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *amounts]
            command += [
                f"--address={self._gcs_address}",
                f"--resources={json.dumps(own)}",
                f"--labels={named}",
            ]
            command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
            environment = {
                **os.environ,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": name,
                "RAY_CLOUD_INSTANCE_ID": name,
                "RAY_NODE_TYPE_NAME": tags[TAG_RAY_USER_NODE_TYPE],
            }
            with (Path(os.environ["RAY_TMPDIR"]) / f"{name[-5:]}.log").open("w") as log:
                node = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            known = {
                TAG_RAY_NODE_KIND: NODE_KIND_WORKER,
                TAG_RAY_NODE_NAME: name,
                TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
            }
            self._nodes[name] = {"tags": {**known, **tags}, "node": node}

    def _terminate_node(self, node: Any) -> None:
        node["node"].terminate()
