"""Whether a .tflite file computes what the torch module does, layer by layer.

LiteRT's integer kernels scale sums by fixed-point multipliers, so what a layer gives may be one step off what
exact arithmetic rounds to, and behind a few layers two networks with nothing wrong have little in common. So
the module is run in lockstep with the file: each of its quantisers takes over the integers that the file has
at that place, provided that they are within a step of its own. Each layer is thereby compared on its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from raysearch.backends.runtimes.litert import LiteRtModel, Port, interpreter
from raysearch.networks import nests
from raysearch.networks.capture import flat_inputs
from raysearch.networks.nests import Nest
from raysearch.networks.operators import layer_of
from raysearch.trainables.export.differences import ExportDisagreement, largest_difference
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.quantization.insert import quantizer_of
from raysearch.trainables.quantization.quantizer import Quantizer
from raysearch.trainables.quantization.throughout import integer_quantizer

# In steps: what a kernel's fixed-point arithmetic may be off, and what the kernels of several quantisers are
# that the file has no tensor for.
_ONE, _SEVERAL = 1.01, 3.01
_UNSEEN = 0.05  # what an output may be off, of its range, behind a rounding that the file leaves out
_SAME = 1e-6  # how far two equal steps may be apart, relative to them


@dataclass(frozen=True)
class Rounded:
    """A tensor of integers in a file, on a batch.

    Attributes:
        name: has the label of the node that gives it.
        values: what the integers are worth, (batch, ...).
        step: between two of them.
    """

    name: str
    values: NDArray[np.float32]
    step: float


@dataclass(frozen=True)
class Steps:
    """What a comparison in lockstep found.

    Attributes:
        error: the largest difference of an output, relative to its range. None is counted within a step of
            an output that the file rounds, and within a twentieth of the range behind what is unseen.
        ties: values that the file rounded to a neighbour of the module's.
        compared: quantisers whose integers were found in the file.
        unseen: those for which the file has no tensor of their own, since the converter took two roundings
            for one, or left one out between floats; layers around them are compared together.
    """

    error: float
    ties: int
    compared: tuple[str, ...]
    unseen: tuple[str, ...]


def litert_steps(module: fx.GraphModule, path: Path, inputs: Nest) -> Steps:
    """Compare each layer of a .tflite file, run by LiteRT's own kernels, with the module's.

    Args:
        module: from ``rounded_throughout``, as it was exported.
        path: the file.
        inputs: a batch.

    Raises:
        ExportDisagreement: integers differ by more than a step (three, where the file has no tensor for a
            quantiser in between).
    """
    outputs, steps, rounded = _run_as_written(path, inputs)
    lockstep = _Lockstep(module.eval(), rounded, outputs, steps)
    device = nests.device_of(module)
    with torch.no_grad():
        given = nests.to_device(flat_inputs(module, inputs), device)
        results = [r.cpu() for r in nests.tensors(lockstep.run(*given, enable_io_processing=False))]
    expected = [
        torch.where((theirs - own).abs() <= near, theirs, own) if near else own
        for theirs, own, near in zip(outputs, results, lockstep.allowed(results, steps), strict=True)
    ]
    error = largest_difference(expected, outputs)
    return Steps(error, lockstep.ties, tuple(lockstep.compared), tuple(lockstep.unseen))


def litert_error(module: fx.GraphModule, path: Path, inputs: Nest) -> tuple[float, int]:
    """The largest relative difference of a .tflite file's outputs in lockstep, and the number of ties.

    Raises:
        ExportDisagreement: the file rounds a value to what is no neighbour of the module's.
    """
    found = litert_steps(module, path, inputs)
    return found.error, found.ties


def _run_as_written(path: Path, inputs: Nest) -> tuple[list[Tensor], list[float], list[Rounded]]:
    """The file's outputs with their steps (0 for floats), and all its tensors of integers with one step."""
    kept = interpreter(path, "LiteRT", "builtin", keep=True)
    tensors = [d for d in kept.get_tensor_details() if d["dtype"] is np.int8 and d["quantization"][0]]
    parts: list[list[NDArray[np.float32]]] = []

    class Watched(LiteRtModel):
        def _run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
            outputs = super()._run(feed)
            parts.append([Port.of(d).values(kept.get_tensor(d["index"])) for d in tensors])
            return outputs

    model, n = Watched(kept, path.name), nests.batch_size(inputs)
    outputs = model(feed_of(inputs))
    # In a file for one input the batch's axis may be anywhere, or gone.
    join = np.stack if model.batch == 1 else np.concatenate
    rounded = [
        Rounded(d["name"], join(values)[:n], float(d["quantization"][0]))
        for d, *values in zip(tensors, *parts, strict=True)
        if model.batch == 1 or list(d["shape"][:1]) == [model.batch]
    ]
    steps = [Port.of(details).scale for details in kept.get_output_details()]
    return [torch.from_numpy(output) for output in outputs], steps, rounded


class _Lockstep(fx.Interpreter):
    """Runs a fake-quantised graph on the integers of a file."""

    def __init__(
        self, module: fx.GraphModule, rounded: list[Rounded], outputs: list[Tensor], steps: list[float]
    ) -> None:
        super().__init__(module)
        self.extra_traceback = False  # the message is for users
        self.rounded = rounded
        results = [n for n in module.graph.output_node().args[0] if isinstance(n, fx.Node)]  # type: ignore[union-attr]
        self.results = results
        self.outputs = dict(zip(results, zip(outputs, steps, strict=True), strict=True))
        self.ties = 0
        self.compared: list[str] = []
        self.unseen: list[str] = []
        self.behind: set[fx.Node] = set()  # nodes that no quantiser separates from one that is unseen

    def allowed(self, results: list[Tensor], steps: list[float]) -> list[float]:
        """How far each output may be off: a step where the file rounds it, and more behind what is unseen."""
        spans = [float(r.max() - r.min()) if r.is_floating_point() and r.numel() else 0.0 for r in results]
        return [
            max(_ONE * step, _UNSEEN * span if node in self.behind else 0.0)
            for node, span, step in zip(self.results, spans, steps, strict=True)
        ]

    def run_node(self, n: fx.Node) -> Any:
        own = super().run_node(n)
        quantizer = quantizer_of(self.module, n)  # type: ignore[arg-type]
        rounds = quantizer is not None and quantizer.integer and quantizer.channels is None
        theirs = self._theirs(n, own, quantizer) if quantizer is not None and rounds else None
        if quantizer is None or theirs is None:
            changed = rounds and not torch.equal(own, self.fetch_args_kwargs_from_env(n)[0][0])
            if changed:  # and no view of what is rounded so already
                self.unseen.append(n.name)
            if changed or any(source in self.behind for source in n.all_input_nodes):
                self.behind.add(n)
            return own
        steps = (theirs - own).abs() / quantizer.step()
        loose = n.all_input_nodes[0] in self.behind
        # The converter makes 8 bits of float weights between integers: that moves all sums a little.
        apart = float(steps.mean() if self._reads_float_weights(n) else steps.max())
        if not apart <= (_SEVERAL if loose else _ONE):
            raise ExportDisagreement(f"{n.name}: the file's integers differ by up to {apart:.0f} steps")
        self.compared.append(n.name)
        self.ties += int(((theirs - own).abs() > quantizer.step() / 2).sum())
        return theirs

    def _reads_float_weights(self, node: fx.Node) -> bool:
        """Whether what a quantiser rounds comes from a layer of integers with weights that are none."""
        while len(node.all_input_nodes) == 1 and layer_of(node) is None:
            (node,) = node.all_input_nodes
        layer = layer_of(node)
        places = () if layer is None or layer.axis is None else (layer.input, layer.weight)
        found = [integer_quantizer(self.module, node.args[place]) for place in places]  # type: ignore[arg-type]
        return bool(found) and found[0] is not None and found[1] is None

    def _theirs(self, node: fx.Node, own: Tensor, quantizer: Quantizer) -> Tensor | None:
        """The file's values at a quantiser, in the module's layout; None where it has none."""
        step, word = float(quantizer.step()), re.compile(rf":{node.name};")
        if node in self.outputs:
            theirs, given = self.outputs[node]
            if given and abs(given - step) > _SAME * step:
                raise ExportDisagreement(f"{node.name}: the file's step is {given:.6g}, not {step:.6g}")
            return theirs.to(own.device)
        found = [
            (word.search(tensor.name) is None, float((arranged - own).abs().mean()), arranged)
            for tensor in self.rounded
            if abs(tensor.step - step) <= _SAME * step
            for arranged in _arrangements(torch.from_numpy(tensor.values).to(own.device), own.shape)
        ]
        if not found:
            return None
        # A file has other layouts than torch: of those that fit, the one that is meant is nearest. It has no
        # label of its own where the converter found that it equals another, or where it is the file's input.
        stray, _, theirs = min(found, key=lambda item: item[:2])
        return None if stray and bool(((theirs - own).abs() > _ONE * step).any()) else theirs


def _arrangements(values: Tensor, shape: torch.Size) -> Iterator[Tensor]:
    """A tensor in all orders of its axes behind the batch's in which it has a shape, but for sizes of one."""
    wanted = [size for size in shape[1:] if size > 1]
    values = values.reshape(values.shape[0], *(size for size in values.shape[1:] if size > 1))
    if values.shape[0] != shape[0] or sorted(values.shape[1:]) != sorted(wanted):
        return
    for order in itertools.permutations(range(1, values.dim())):
        if [values.shape[axis] for axis in order] == wanted:
            yield values.permute(0, *order).reshape(shape).contiguous()
