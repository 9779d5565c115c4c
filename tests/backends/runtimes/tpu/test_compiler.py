"""Google's compiler, where it is installed: what JAX computes, and what XLA says that it costs."""

import os
import subprocess
import sys

import pytest
import torch
import zoo
from torch import nn

from raysearch import backends
from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.tpu.child import Child
from raysearch.backends.runtimes.tpu.target import _COMPILER, _ENVIRONMENT
from raysearch.networks.capture import capture
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.export.files import export_torch
from raysearch.trainables.quantization import fold_batch_norm

MISSING = backends.get("tpu-v5e").unavailable()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
LIMIT_S = 240


@pytest.fixture(scope="module")
def compiler():
    """One process for all: each takes seconds to import JAX and torch."""
    return Child(_COMPILER, _ENVIRONMENT)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """``written(name, network, inputs)`` gives a network's file."""
    folder = tmp_path_factory.mktemp("programs")

    def write(name, network, inputs):
        path = folder / f"{name}.pt2"
        if not path.exists():
            export_torch(fold_batch_norm(capture(network, inputs)), path)
        return path

    return write


KINDS = [
    "vision_transformer", "masked_encoder", "lstm", "segmentation", "text", "dict_output", "two_inputs",
    "raw_images", "half_inputs", "written_slices", "u_net", "norms_of_weights",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_anybodys_network_computes_what_torch_does(kind, compiler, written):
    path = written(kind, zoo.network(kind), zoo.NETWORKS[kind].inputs(2))
    feed = feed_of(zoo.NETWORKS[kind].inputs(3))
    expected = backends.get("torch-cpu").load(path)(feed)
    for dtype, tolerance in (("f32", 1e-5), ("bf16", 0.02)):
        found = compiler.ask("run", LIMIT_S, path=str(path), dtype=dtype, feed=feed)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            assert abs(one - other).max() <= tolerance * abs(other).max()


def test_an_operator_without_a_translation_is_named_with_its_layer(written):
    path = written("max_pools", zoo.network("max_pools"), zoo.IMAGES(2))
    expected = (
        r"^tpu-v5e cannot run max_pools\.pt2: JAX has no aten\.adaptive_max_pool2d\.default \(layer '3'\)$"
    )
    with pytest.raises(MeasurementError, match=expected):
        backends.get("tpu-v5e").load(path)


WRONG = """
import sys
import numpy as np
from raysearch.backends.runtimes.tpu import compiler, program
own = program._transposed
program._transposed = lambda x, weight, *how: -own(x, weight, *how)
compiler.check(sys.argv[1], {"input": np.ones((2, 4, 5, 5), np.float32)})
"""


@pytest.mark.parametrize("translation", ["right", "wrong"])
def test_what_is_computed_wrongly_is_refused(translation, written):
    torch.manual_seed(0)
    net = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2)).eval()
    path = written("grouped", net, torch.randn(2, 4, 5, 5))
    script = WRONG.replace("-own", "own") if translation == "right" else WRONG
    done = python(script, path)
    said = "cannot run grouped.pt2: JAX does not compute for it what torch does"
    assert (done.returncode == 0, said in done.stderr) == (translation == "right", translation == "wrong")


ATTACHED = """
import sys
import jax
import numpy as np
from raysearch.backends import get
from raysearch.backends.runtimes.tpu import target
target._PCI = target.Path(sys.argv[2])
devices = jax.devices
jax.devices = lambda platform=None: devices("cpu")
model = get("tpu-v5e").load(target.Path(sys.argv[1]))
run = model.runner({"input": np.ones((3, 512), np.float32)})
(y,), (again,) = run(), run()
print(type(model).__name__, y.shape, y.dtype, bool((y == again).all()))
"""


def test_an_attached_chip_runs_what_is_bound_once(written, tmp_path):
    """By a stand-in: this CPU in the chip's place."""
    (tmp_path / "chip").mkdir()
    (tmp_path / "chip" / "vendor").write_text("0x1ae0")
    (tmp_path / "chip" / "device").write_text("0x0063")
    done = python(ATTACHED, written("linear", nn.Linear(512, 512).eval(), torch.randn(2, 512)), tmp_path)
    assert done.stdout.strip() == "AttachedModel (3, 512) bfloat16 True", done.stderr


def python(script, *arguments):
    """What a script says that imports JAX, in a process of its own."""
    environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S)


def test_larger_batches_and_wider_networks_cost_more(compiler, written):
    def seconds(width, batch, chip="tpu-v5e"):
        net = nn.Sequential(nn.Conv2d(64, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 64, 3)).eval()
        path = written(f"wide{width}", net, torch.randn(2, 64, 32, 32))
        what = {"path": str(path), "runtime": chip, "dtype": "bf16", "shapes": [(batch, 64, 32, 32)]}
        return compiler.ask("estimate", LIMIT_S, **what)["optimal_seconds"] % 1

    widths = [seconds(width, 8) for width in (64, 256, 1024)]
    batches = [widths[1], seconds(256, 32), seconds(256, 128)]
    assert widths == sorted(widths)
    assert batches == sorted(batches)
    assert widths[2] > 2 * widths[0]
    assert batches[2] > 4 * batches[0]
    assert seconds(1024, 8, "tpu-v6e") < widths[2]


def test_every_chip_can_be_compiled_for(compiler, written):
    path = written("linear", nn.Linear(512, 512).eval(), torch.randn(2, 512))
    for chip in ("tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e"):
        what = {"path": str(path), "runtime": chip, "dtype": "f32", "shapes": [(128, 512)]}
        found = compiler.ask("estimate", LIMIT_S, **what)
        assert 0 < found["optimal_seconds"] % 1 < 1e-3
        assert found["bytes"] > 4 * 512 * 512


def test_two_at_once_do_not_lock_each_other_out(compiler, written):
    path = written("linear", nn.Linear(512, 512).eval(), torch.randn(2, 512))
    what = {"path": str(path), "runtime": "tpu-v5e", "dtype": "bf16", "shapes": [(1, 512)]}
    other = Child(_COMPILER, _ENVIRONMENT)
    assert compiler.ask("estimate", LIMIT_S, **what) == other.ask("estimate", LIMIT_S, **what)
