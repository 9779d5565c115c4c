"""What a cluster is at a moment: its nodes, which of them are about to go, and whether others may come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from raysearch.runs.cluster.demand import Demand

_UNSCALED = "node_"  # how Ray calls the type of a node that no autoscaler has started


@dataclass(frozen=True)
class Nodes:
    """The nodes that are alive.

    Attributes:
        alive: as ``ray.nodes()`` has them.
        draining: the names of those that were told to go, as a spot node's notice does; nothing new is
            placed on them.
    """

    alive: tuple[Mapping[str, Any], ...]
    draining: frozenset[str] = frozenset()

    @classmethod
    def now(cls) -> Nodes:
        """Those of the cluster that this process is connected to; two calls to its head."""
        alive = tuple(node for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
        return cls(alive, frozenset(ray._private.state.state.get_draining_nodes()))

    def places(self, demand: Demand) -> tuple[int, int]:
        """How many trials of a demand all nodes that stay hold, and how many nodes that are."""
        held = [demand.fits(node) for node in self.alive if node["NodeID"] not in self.draining]
        return sum(held), sum(map(bool, held))


def is_own() -> bool:
    """Whether this very process has started the cluster: its one node is all there will be."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.is_head())


def is_scaled() -> bool:
    """Whether an autoscaler would start nodes for what cannot be placed.

    How far it may go Ray does not say. In a cluster's first seconds the autoscaler has not yet shown itself.
    """
    from ray.core.generated import autoscaler_pb2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_own():
        return False
    driver: Any = ray._private.worker.global_worker
    reply: Any = autoscaler_pb2.GetClusterStatusReply  # type: ignore[attr-defined]
    status = reply.FromString(driver.gcs_client.get_cluster_status())
    if status.HasField("autoscaling_state"):
        return True
    # The first generation of autoscalers writes a report, and so does what only watches a cluster's nodes.
    report = json.loads(_internal_kv_get(ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS) or "{}")
    types = (report.get("autoscaler_report") or {}).get("active_nodes", {})
    return any(not name.startswith(_UNSCALED) for name in types)
