"""Latencies of networks, measured twice, the second time beside a busy core, against a long quiet reference.

Purpose: a latency must be the network's, whatever else the machine does: two runs agree on which of two
networks is faster, and on by how much.

Random residual networks for images of 32 x 32, of about a millisecond each, in float and at eight bits; each
file is measured by the protocol, against the first one, in a first run and, shuffled, in a second one beside
a process that computes all the time. The reference is one measurement of twenty seconds. A network's figure
is its latency as a study has it: the paired ratio times the reference network's quiet latency of that run.

"kendall_tau" is between the two runs' latencies; "within_3_percent" the share of networks whose ratio, in
both runs, is within 3 % of the long reference's; "seconds" the median that a measurement of one network took.

Acceptance: tau at least .95, 18 of 20 within 3 %, at most 3 s a network.

Table: none.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.common import arguments, report
from benchmarks.eight_bits import at_eight_bits
from raysearch.backends.protocol import Protocol
from raysearch.backends.service import MeasurementService
from raysearch.networks.capture import capture
from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.trainables.export import export_onnx
from raysearch.trainables.models.ready import build_network
from raysearch.trainables.quantization import fold_batch_norm

SIZE, CLASSES = 32, 10
LONG = Protocol(max_s=20.0, max_rounds=1000, min_rounds=1000)
BUSY = "import numpy as np\nx = np.random.rand(300, 300)\nwhile True:\n    x = x @ x % 1.0\n"


def files(count: int, seed: int, folder: Path) -> list[Path]:
    """Files of random networks, every second one at eight bits."""
    torch.manual_seed(seed)
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        stages = tuple(StagePlan(int(rng.integers(1, 4)), int(8 * rng.integers(2, 9))) for _ in range(3))
        network = build_network(ResNetPlan(int(8 * rng.integers(2, 9)), stages), (3, SIZE, SIZE), CLASSES)
        images = torch.randn(16, 3, SIZE, SIZE)
        module = fold_batch_norm(capture(network.eval(), images[:2]))
        found.append(folder / f"{number}.onnx")
        export_onnx(at_eight_bits(module, images) if number % 2 else module, found[-1])
    return found


def measured(paths: list[Path], protocol: Protocol, order: list[int], target: str) -> tuple[np.ndarray, ...]:
    """Latencies and ratios of files, in their own order, and the seconds that each measurement took."""
    service = MeasurementService(protocol)
    example = {"input": np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)}
    service.set_reference(target, paths[0].read_bytes(), example)
    found = {i: service.remeasure(target, paths[i].read_bytes(), example) for i in order}
    rows = [found[i] for i in range(len(paths))]
    return tuple(np.array([row[key] for row in rows]) for key in ("latency_ms", "ratio", "seconds"))


@contextmanager
def busy_core() -> Iterator[None]:
    """A process that computes all the time."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            yield
        finally:
            process.kill()


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__, seeds=2)
    parser.add_argument("--networks", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--target", default="onnxruntime-cpu", help="where (default onnxruntime-cpu)")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    taus, near, seconds, sizes = [], [], [], []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            paths = files(given.networks, seed, Path(folder))
            straight = list(range(len(paths)))
            shuffled = np.random.default_rng(seed).permutation(len(paths)).tolist()
            first = measured(paths, Protocol(), straight, given.target)
            with busy_core():
                second = measured(paths, Protocol(), shuffled, given.target)
            truth = measured(paths, LONG, straight, given.target)
        taus.append(kendalltau(first[0], second[0]).statistic)
        apart = np.abs(np.stack([first[1], second[1]]) / truth[1] - 1)
        near.append(float((apart.max(axis=0) <= 0.03).mean()))
        seconds.append(float(np.median(np.concatenate([first[2], second[2]]))))
        sizes.append(float(np.median(truth[0])))
        alone, busy = (apart <= 0.03).mean(axis=1)
        print(
            f"{seed}: tau {taus[-1]:.3f}, within 3 %: {near[-1]:.2f} ({alone:.2f} alone, {busy:.2f} busy)"
            f", {seconds[-1]:.2f} s for {sizes[-1]:.2f} ms",
            flush=True,
        )
    figures = {
        "kendall_tau": float(np.mean(taus)),
        "within_3_percent": float(np.mean(near)),
        "seconds": float(np.mean(seconds)),
        "median_ms": float(np.mean(sizes)),
    }
    if given.json:
        report("measurement", figures, {})


if __name__ == "__main__":
    main()
