from __future__ import annotations

import pytest

from benchmarks.peers import PEERS
from raysearch.objectives import Goals
from raysearch.searchers.encoding import Encoding, Parameter

SPACE = (
    Parameter(("net", "op"), "categorical", choices=("conv", None, (1, 2))),
    Parameter(("width",), "integer", 8, 64, step=8),
    Parameter(("lr",), "float", 1e-4, 1e-1, log=True),
    Parameter(("ratio",), "float", 0.0, 0.8, step=0.1),
)
GOALS = Goals.parse(["maximize accuracy", "minimize latency"])
NEEDS = {"optuna_nsga2": "optuna", "optuna_tpe": "optuna", "botorch_qlognehvi": "botorch"}


@pytest.mark.parametrize("name", list(PEERS))
def test_a_peer_suggests_legal_configs_and_gives_the_same_again(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="needs the extra peers")
    encoding, runs = Encoding(SPACE), []
    for _ in range(2):
        peer = PEERS[name](SPACE, GOALS, 1)
        runs.append([])
        for i in range(10):
            config = peer.ask(str(i))
            encoding.encode(config)
            runs[-1].append(config)
            peer.tell(str(i), 1, {"accuracy": config["ratio"], "latency": config["width"]} if i != 3 else {})
            peer.end(str(i), "failed" if i == 3 else "finished")
    assert runs[0] == runs[1]
