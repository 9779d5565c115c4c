"""Whether an exported file computes what the torch module does.

Two runtimes add floats in different orders. Where a value lies between two steps of a quantiser, that decides
which way it is rounded, and the outputs then differ by more than any tolerance for floats, with nothing being
wrong. So the module is run in lockstep with the file: at each quantiser it takes over what the file has
rounded to, provided that it is as near to the module's own value as the module's own rounding. All that
remains at the outputs must be float noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto
from torch import Tensor, fx

from raysearch.backends.base import Backend
from raysearch.backends.exported import load_program
from raysearch.networks import nests
from raysearch.networks.capture import flat_inputs, signature
from raysearch.networks.nests import Nest
from raysearch.trainables.data.batches import Batch, Collate, Examples, batches
from raysearch.trainables.evaluation import class_axes, outputs_of
from raysearch.trainables.export.differences import ExportDisagreement, largest_difference
from raysearch.trainables.export.feeds import feed_of, function_of
from raysearch.trainables.export.forms import float_form
from raysearch.trainables.export.litert.agreement import litert_error
from raysearch.trainables.quantization.insert import quantizer_of

TOLERANCE = 1e-4
TOP1 = 0.99
# Of a tensor's largest value: what sums of floats in another order differ by.
_NOISE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How closely a file follows the module.

    Attributes:
        error: the largest difference of an output with the runtime's optimisations off, relative to the range
            of that output.
        ties: how many values the file rounded the other way, legally.
        top1: the share of inputs for which the deployed session prefers the module's class, 0..1; None where
            there are no classes.
        predicted: the deployed session's batches of (outputs, targets).
    """

    error: float
    ties: int
    top1: float | None
    predicted: list[Batch]

    def remark(self, target: str) -> str | None:
        """What the runtime's own optimisations change, where that is worth a word.

        The file is proven without them; what they change is in the metrics that are taken where it runs.
        """
        if self.top1 is None or self.top1 >= TOP1:
            return None
        return f"{target}'s optimisations change {1 - self.top1:.1%} of the predicted classes"


def check_agreement(
    module: fx.GraphModule,
    path: Path,
    backend: Backend,
    examples: Examples,
    collate: Collate | None = None,
    samples: int = 64,
) -> Agreement:
    """Run a file on its target on all examples, and make sure that it computes what the module does.

    Args:
        module: the captured network that was exported, on any device.
        path: ``.onnx``, ``.tflite``, or ``.pt2`` (compared with the float network with rounded weights).
        backend: where the file will run.
        examples: of (inputs, targets); the deployed session runs on all of them.
        collate: makes a batch of a list of examples.
        samples: from the beginning, how many are compared to within 1e-4.

    Raises:
        ExportDisagreement: an output differs by more than 1e-4 of its range, or the file rounds a value to
            what is no rounding of the module's.
        MeasurementError: the target cannot load the file.
    """
    inputs, _ = next(batches(examples, samples, collate=collate))
    reference = float_form(module) if path.suffix == ".pt2" else module
    compare = {".pt2": program_error, ".tflite": litert_error}.get(path.suffix, onnx_error)
    error, ties = compare(reference, path, inputs)
    if not error <= TOLERANCE:
        raise ExportDisagreement(
            f"{path.name} does not compute what the module does: outputs differ by {error:.1e} of their range"
        )
    function = function_of(backend.load(path), outputs_of(reference, inputs))
    predicted: list[Batch] = []
    same: list[Tensor] = []
    for given, targets in batches(examples, 256, collate=collate):
        outputs = function(given)
        predicted.append((outputs, targets))
        if any(axis is not None for axis in class_axes(outputs, targets)):
            same += _same_classes(outputs, outputs_of(reference, given), targets)
    top1 = float(torch.cat(same).float().mean()) if same else None
    return Agreement(error, ties, top1, predicted)


def onnx_error(module: fx.GraphModule, path: Path, inputs: Nest) -> tuple[float, int]:
    """The largest relative difference of an ONNX file's outputs, run as written, and the number of ties.

    Raises:
        ExportDisagreement: the file rounds a value to what is no rounding of the module's.
    """
    outputs, rounded = _run_as_written(module, path, inputs)
    lockstep = _Lockstep(module.eval(), rounded)
    device = nests.device_of(module)
    with torch.no_grad():
        expected = lockstep.run(
            *nests.to_device(flat_inputs(module, inputs), device), enable_io_processing=False
        )
    return largest_difference(expected, outputs), lockstep.ties


def program_error(reference: fx.GraphModule, path: Path, inputs: Nest) -> tuple[float, int]:
    """The largest relative difference of a torch program's outputs; nothing is rounded in it."""
    with torch.no_grad():
        given = nests.call(load_program(path).module(), inputs)
    return largest_difference(outputs_of(reference, inputs), nests.tensors(given)), 0


def _same_classes(outputs: Nest, reference: Nest, targets: Nest) -> Iterator[Tensor]:
    """For each output of logits of classes whether the most likely class is the reference's, as booleans."""
    pairs = zip(nests.tensors(outputs), nests.tensors(reference), strict=True)
    for (one, other), axis in zip(pairs, class_axes(outputs, targets), strict=True):
        if axis is not None:
            yield (one.argmax(axis) == other.argmax(axis)).flatten()


def _run_as_written(
    module: fx.GraphModule, path: Path, inputs: Nest
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The file's outputs, and by node's name what its quantisers gave, without any optimisation."""
    import onnxruntime as ort

    model = onnx.load(str(path))
    names = _names_of_rounded(module)
    known = {output.name for output in model.graph.output}
    for name in set(names.values()) - known:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    arrays = session.run(None, feed_of(inputs))
    found = {o.name: torch.from_numpy(a) for o, a in zip(session.get_outputs(), arrays, strict=True)}
    outputs = [found[name] for name in signature(module).outputs]
    return outputs, {node: found[name] for node, name in names.items()}


def _names_of_rounded(module: fx.GraphModule) -> dict[str, str]:
    """The file's tensor of each quantiser of an activation: its node's name, or the output's that it is."""
    results = [n for n in module.graph.output_node().args[0] if isinstance(n, fx.Node)]  # type: ignore[union-attr]
    outputs = dict(zip(results, signature(module).outputs, strict=True))
    found = {}
    for node in module.graph.nodes:
        quantizer = quantizer_of(module, node)
        if quantizer is not None and quantizer.channels is None:
            found[node.name] = outputs.get(node, node.name)
    return found


class _Lockstep(fx.Interpreter):
    """Runs a fake-quantised graph on what a file has rounded to."""

    def __init__(self, module: fx.GraphModule, rounded: dict[str, Tensor]) -> None:
        super().__init__(module)
        self.extra_traceback = False  # the message is for users
        self.rounded = rounded
        self.ties = 0

    def run_node(self, n: fx.Node) -> Any:
        own = super().run_node(n)
        if n.name not in self.rounded:
            return own
        quantizer = quantizer_of(self.module, n)  # type: ignore[arg-type]
        assert quantizer is not None
        x, theirs = self.fetch_args_kwargs_from_env(n)[0][0], self.rounded[n.name].to(own.device).view_as(own)
        noise = _NOISE * float(x.abs().max())
        on_grid = (quantizer(theirs) - theirs).abs() <= noise
        legal = on_grid & ((theirs - x).abs() <= (own - x).abs() + 2 * noise)
        if not bool(legal.all()):
            worst = float((theirs - own).abs().max())
            raise ExportDisagreement(f"{n.name}: the file's rounded values differ by up to {worst:.3g}")
        self.ties += int((theirs != own).sum())
        return theirs
