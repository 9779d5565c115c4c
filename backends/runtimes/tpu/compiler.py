"""XLA for TPUs: what its compiler says of a network, and the same network run on this CPU.

``python -m raysearch.backends.runtimes.tpu.compiler`` answers what target.py asks, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from raysearch.backends.base import Array, Feed
from raysearch.backends.runtimes.tpu.child import serve
from raysearch.backends.runtimes.tpu.program import Network, Program, read

# The smallest arrangement of each that libtpu describes, of which one device is compiled for; of v4, both
# cores of a chip as one device, as JAX has them.
_TOPOLOGIES: dict[str, dict[str, str]] = {
    "tpu-v5e": {"topology_name": "v5e:2x2"},
    "tpu-v6e": {"topology_name": "v6e:2x2"},
    "tpu-v5p": {"topology_name": "v5p:2x2x1"},
    "tpu-v4": {"topology_name": "v4:2x2x1", "chip_config_name": "megacore"},
}


def estimate(path: str, runtime: str, dtype: str, shapes: list[tuple[int, ...]]) -> dict[str, float]:
    """What XLA says of a network that it has compiled for a TPU.

    Args:
        path: the ``.pt2`` file.
        runtime: "tpu-v5e".
        dtype: "bf16" or "f32".
        shapes: of its inputs.

    Returns:
        "optimal_seconds", in which each operator that XLA has no estimate of counts -1, and "bytes" that the
        device holds.
    """
    program = _network(path).program(dtype)
    device = topologies.get_topology_desc(platform="tpu", **_TOPOLOGIES[runtime]).devices[0]
    place = SingleDeviceSharding(device)

    def like(shape: tuple[int, ...], kind: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(kind), sharding=place)

    states = [like(state.shape, state.dtype) for state in program.states]
    inputs = [like(shape, kind) for shape, kind in zip(shapes, program.inputs, strict=True)]
    with _precision(dtype):
        compiled = jax.jit(program.function).lower(states, inputs).compile()
    sizes = compiled.memory_analysis()
    held = (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        + sizes.generated_code_size_in_bytes
    )
    return {"optimal_seconds": compiled.cost_analysis()["optimal_seconds"], "bytes": held}


def load(path: str) -> None:
    """Read a network, so that one that cannot be run is refused."""
    _network(path)


def check(path: str, feed: Feed) -> None:
    """Make sure, by the first two inputs of a batch, that JAX computes what torch does."""
    _network(path).check({name: array[:2] for name, array in feed.items()})


def run(path: str, dtype: str, feed: Feed) -> tuple[Array, ...]:
    """The outputs of a batch, computed on this CPU in the target's type."""
    program, function = _on_cpu(path, dtype)
    found = [np.asarray(a) for a in function(program.states, program.arguments(feed)) if a is not None]
    return tuple(array.astype(kind) for array, kind in zip(found, program.outputs, strict=True))


def bound(path: str, dtype: str, feed: Feed) -> Callable[[], object]:
    """One inference a call on this process's own TPU, weights and inputs being there."""
    program = _network(path).program(dtype)
    device = jax.devices("tpu")[0]
    states, inputs = jax.device_put((program.states, program.arguments(feed)), device)
    with _precision(dtype):
        compiled = jax.jit(program.function).lower(states, inputs).compile()
    return lambda: jax.block_until_ready(compiled(states, inputs))


@cache
def _network(path: str) -> Network:
    return read(Path(path))


@cache
def _on_cpu(path: str, dtype: str) -> tuple[Program, Any]:
    program = _network(path).program(dtype)
    return program, jax.jit(program.function)


def _precision(dtype: str) -> Any:
    """Products of float32 are of bfloat16 on a TPU unless more is asked for."""
    return jax.default_matmul_precision("highest" if dtype == "f32" else "default")


if __name__ == "__main__":
    serve({"estimate": estimate, "load": load, "check": check, "run": run})
