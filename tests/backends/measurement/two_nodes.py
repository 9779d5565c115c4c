"""A cluster of two nodes with a board each, of which one is lost, then both, then another one comes.

Called with a folder of model files and a place for what was found, as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

from raysearch.backends import get
from raysearch.backends.measurement.devices import start_service
from raysearch.backends.measurement.protocol import Protocol

SPEC = {"name": "desk", "runtime": "onnxruntime-cpu", "resource": "board"}
QUICK = Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0, settle_ms=0.5, block_ms=0.5)
EXAMPLE = {"input": np.zeros((1, 1, 8, 8), np.float32)}


def main() -> None:
    models = sorted(Path(sys.argv[1]).glob("*.onnx"))
    contents = [path.read_bytes() for path in models]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    first, second = (cluster.add_node(num_cpus=1, resources={"board": 1}) for _ in range(2))
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    found: dict[str, Any] = {
        "unavailable": get(SPEC).unavailable(),
        "missing": get({**SPEC, "resource": "jetson"}).unavailable(),
    }
    service = start_service("two-nodes", QUICK)
    service.set_reference(SPEC, contents[0], EXAMPLE)

    def ask(number: int, answers: list[Any]) -> None:
        try:
            answers.append(service.remeasure(SPEC, contents[number % len(contents)], EXAMPLE)["ratio"])
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")

    def ask_all(count: int, meanwhile: Any = None) -> list[Any]:
        answers: list[Any] = []
        threads = [threading.Thread(target=ask, args=(i, answers)) for i in range(count)]
        for thread in threads:
            thread.start()
        if meanwhile is not None:
            time.sleep(0.3)
            meanwhile()
        for thread in threads:
            thread.join()
        return answers

    found["one is lost"] = ask_all(8, lambda: cluster.remove_node(first, allow_graceful=False))
    sent = replace(get(SPEC), service="two-nodes").load(models[0])
    found["outputs"] = sent({"input": np.ones((3, 1, 8, 8), np.float32)})[0].tolist()
    cluster.remove_node(second, allow_graceful=False)
    while sum(node["Alive"] for node in ray.nodes()) > 1:  # its process may outlive it for a moment
        time.sleep(0.5)
    found["none is left"] = ask_all(1)
    cluster.add_node(num_cpus=1, resources={"board": 1})
    found["another comes"] = ask_all(1)
    service.stop()
    ray.shutdown()
    cluster.shutdown()
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
