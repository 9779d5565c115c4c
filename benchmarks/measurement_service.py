"""The measurement service under load: a cached request, and many requests to two devices.

Purpose: asking for a latency that is known must cost nothing, and devices must neither measure two models at
once nor be idle while somebody waits.

On a local cluster of Ray, whose node says that it has two boards: a small network is asked for over and over
("cached_ms", the median of a request from a trial's process); then four trials ask for 100 measurements of
other networks, none of them known. A board is this machine's processor here, and the two would wait for each
other's computing: their protocol mostly rests. "share_of_devices" is the time that the devices were
measuring, all together, divided by the time that passed and their number; "at_once" is the most measurements
that were under way at a time, by when each ended and how long it took.

Acceptance: cached below 5 ms, share at least .9, at_once no more than there are devices (2).

Table: none.
"""

from __future__ import annotations

import logging
import time

import numpy as np
import ray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.common import arguments, report
from raysearch.backends.measurement.devices import start_service
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.remote import connect

TRIALS, DEVICES, REQUESTS = 4, 2, 100
EXAMPLE = {"x": np.zeros((1, 4), np.float32)}
_BLUR_S = 0.02
SPEC = {"name": "board", "runtime": "onnxruntime-cpu", "resource": "board"}
# Mostly rest: two devices that are one processor must not wait for each other's computing.
WAITING = Protocol(
    round_samples=6, min_rounds=4, max_rounds=4, warm_s=0.0, settle_ms=0.1, block_ms=0.1, pause_s=0.1
)


def model(width: int) -> bytes:
    """A file whose structure is its width's."""
    weights = np.ones((4, width), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "line",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weights, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def ask(name: str, widths: list[int]) -> list[tuple[float, float]]:
    """A trial's requests one after another; when each was answered, and the seconds that it took."""
    service, found = connect(name), []
    for width in widths:
        measured = service.measure(SPEC, model(width), EXAMPLE)
        found.append((time.time(), measured["seconds"]))
    return found


def at_once(answers: list[tuple[float, float]]) -> int:
    """The most measurements under way at a time; the way of an answer blurs its end."""
    began = [(end - seconds + _BLUR_S, 1) for end, seconds in answers]
    ended = [(end - _BLUR_S, -1) for end, _ in answers]
    under_way, most = 0, 0
    for _, change in sorted(began + ended):
        under_way += change
        most = max(most, under_way)
    return most


def cached_ms(name: str) -> float:
    """The median of a request for what is known, in ms, of a process that is no device's."""
    service, took = connect(name), []
    for _ in range(200):
        start = time.perf_counter()
        assert service.measure(SPEC, model(4), EXAMPLE)["cached"]
        took.append(1e3 * (time.perf_counter() - start))
    return float(np.median(took))


def once(seed: int) -> dict[str, float]:
    """The figures of one service."""
    name = f"measurement-service-{seed}"
    service = start_service(name, WAITING)
    try:
        for width in (4, 5, 6):  # both devices have their processes, and the reference
            service.measure(SPEC, model(width), EXAMPLE)
        ray.get([ray.remote(num_cpus=0)(ask).remote(name, [7 + i]) for i in range(TRIALS)])
        quick = ray.get(ray.remote(num_cpus=0)(cached_ms).remote(name))
        widths = np.arange(20, 20 + REQUESTS).reshape(TRIALS, -1).tolist()
        start = time.time()
        found = ray.get([ray.remote(num_cpus=0)(ask).remote(name, some) for some in widths])
        answers = [answer for some in found for answer in some]
        passed = time.time() - start
    finally:
        service.stop()
    busy = sum(seconds for _, seconds in answers)
    share = busy / passed / DEVICES
    return {"cached_ms": quick, "share_of_devices": share, "at_once": at_once(answers), "seconds": passed}


def main(argv: list[str] | None = None) -> None:
    given = arguments(__doc__, seeds=3).parse_args(argv)
    ray.init(
        num_cpus=2, resources={"board": DEVICES}, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR,
    )  # fmt: skip
    rows = []
    for seed in range(given.seeds):
        rows.append(once(seed))
        print(", ".join(f"{key} {value:.3g}" for key, value in rows[-1].items()), flush=True)
    ray.shutdown()
    figures = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    if given.json:
        report("measurement_service", figures, {})


if __name__ == "__main__":
    main()
