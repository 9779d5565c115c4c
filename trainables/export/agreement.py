"""Whether an exported file computes what the torch module does.

Two runtimes add floats in different orders. Where a value lies between two steps of a quantiser, that decides
which way it is rounded, and the logits then differ by more than any tolerance for floats, with nothing being
wrong. So the module is run in lockstep with the file: at each quantiser it takes over what the file has
rounded to, provided that it is as near to the module's own value as the module's own rounding. All that
remains at the logits must be float noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto
from torch import Tensor, fx, nn

from raysearch.backends.base import Backend, CompiledModel
from raysearch.trainables.data.batches import Batch, Collate, Examples, batches
from raysearch.trainables.evaluation import from_arrays, outputs_of
from raysearch.trainables.quantization.forms import float_form
from raysearch.trainables.quantization.quantizer import Quantizer

TOLERANCE = 1e-4
TOP1 = 0.99
# Of a tensor's largest value: what sums of floats in another order differ by.
_NOISE = 1e-5


class ExportDisagreement(RuntimeError):
    """The exported file does not compute what the torch module does; the message has the figures."""


@dataclass(frozen=True)
class Agreement:
    """How closely a file follows the module.

    Attributes:
        error: the largest difference of a logit with the runtime's optimisations off, relative to the range
            of all logits.
        ties: how many values the file rounded the other way, legally.
        top1: the share of inputs for which the deployed session prefers the module's class, 0..1.
    """

    error: float
    ties: int
    top1: float


def check_agreement(
    module: nn.Module,
    path: Path,
    backend: Backend,
    examples: Examples,
    collate: Collate | None = None,
    samples: int = 64,
) -> list[Batch]:
    """Run a file on its target on all examples, and make sure that it computes what the module does.

    Args:
        module: what was exported, on any device.
        path: ``.onnx``, or ``.pt2`` (compared with the float network with rounded weights).
        backend: where the file will run.
        examples: of (inputs, targets); the deployed session is compared on all of them.
        collate: makes a batch of a list of examples.
        samples: from the beginning, how many are compared to within 1e-4.

    Returns:
        The deployed session's batches of (outputs, targets).

    Raises:
        ExportDisagreement: the logits differ by more than 1e-4 of their range, or the deployed session gives
            another class for more than 1 % of the inputs.
        MeasurementError: the target cannot load the file.
    """
    deployed = backend.load(path)
    agreement, predicted = measure_agreement(module, path, deployed, examples, collate, samples)
    figures = f"logits differ by {agreement.error:.1e} of their range, same class for {agreement.top1:.1%}"
    if not agreement.error <= TOLERANCE:
        raise ExportDisagreement(f"{path.name} does not compute what the module does: {figures}")
    if not agreement.top1 >= TOP1:
        raise ExportDisagreement(
            f"{path.name} on {backend.name} does not deploy what the module computes: {figures}"
        )
    return predicted


def measure_agreement(
    module: nn.Module,
    path: Path,
    deployed: CompiledModel,
    examples: Examples,
    collate: Collate | None = None,
    samples: int = 64,
) -> tuple[Agreement, list[Batch]]:
    """The figures that ``check_agreement`` judges by, and the deployed session's (outputs, targets).

    Raises:
        ExportDisagreement: the file rounds a value to what is no rounding of the module's.
    """
    x, _ = next(batches(examples, samples, collate=collate))
    program = path.suffix == ".pt2"
    reference = float_form(module) if program else module
    error, ties = _program_error(reference, path, x) if program else onnx_error(reference, path, x)
    predict, predicted, same = from_arrays(deployed), [], []
    for inputs, targets in batches(examples, 256, collate=collate):
        predicted.append((outputs_of(predict, inputs), targets))
        same.append(_same_class(outputs_of(reference, inputs), predicted[-1][0]))
    return Agreement(error, ties, float(torch.cat(same).float().mean())), predicted


def onnx_error(module: nn.Module, path: Path, x: Tensor) -> tuple[float, int]:
    """The largest relative difference of an ONNX file's logits, run as it is written, and the number of ties.

    Raises:
        ExportDisagreement: the file rounds a value to what is no rounding of the module's.
    """
    logits, rounded = _run_as_written(path, x)
    if not isinstance(module, fx.GraphModule):
        return _difference(outputs_of(module, x), logits), 0
    lockstep = _Lockstep(module.eval(), rounded)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with torch.no_grad():
        expected = lockstep.run(x.to(device)).cpu()
    return _difference(expected, logits), lockstep.ties


def _program_error(reference: nn.Module, path: Path, x: Tensor) -> tuple[float, int]:
    with torch.no_grad():
        logits: Tensor = torch.export.load(str(path)).module()(x)
    return _difference(outputs_of(reference, x), logits), 0


def _same_class(expected: Tensor, given: Tensor) -> Tensor:
    """Where the largest logit is the same one; everywhere where there are no classes."""
    if expected.dim() < 2:
        return torch.ones(len(expected), dtype=torch.bool)
    return (expected.argmax(1) == given.argmax(1)).flatten()


def _difference(expected: Tensor, given: Tensor) -> float:
    span = float(expected.max() - expected.min())
    return float((given - expected).abs().max()) / max(span, math.ulp(1.0))


def _run_as_written(path: Path, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The file's logits, and its rounded tensors in the order of the graph, without any optimisation."""
    import onnxruntime as ort

    model = onnx.load(str(path))
    names = list(_rounded_tensors(model.graph))
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    logits, *rounded = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(logits), [torch.from_numpy(values) for values in rounded]


def _rounded_tensors(graph: onnx.GraphProto) -> Iterator[str]:
    """The outputs of what quantisers became (DequantizeLinear, or the second of two Casts), in order."""
    constants = {tensor.name for tensor in graph.initializer}
    halves = set()
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] not in constants:
            if node.attribute[0].i == TensorProto.FLOAT16:
                halves.add(node.output[0])
            elif node.input[0] in halves:
                yield node.output[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] not in constants:
            yield node.output[0]


class _Lockstep(fx.Interpreter):
    """Runs a fake-quantised graph on what a file has rounded to."""

    def __init__(self, module: fx.GraphModule, rounded: list[Tensor]) -> None:
        super().__init__(module)
        self.extra_traceback = False  # the message is for users
        self.rounded = iter(rounded)
        self.ties = 0
        calls = sum(isinstance(self.submodules.get(n.target), Quantizer) for n in module.graph.nodes)
        if calls != len(rounded):
            raise ExportDisagreement(f"the file has {len(rounded)} quantised tensors, the module {calls}")

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        own = super().call_module(target, args, kwargs)
        quantizer = self.submodules[target]
        if not isinstance(quantizer, Quantizer):
            return own
        x, theirs = args[0], next(self.rounded).to(own.device)
        noise = _NOISE * float(x.abs().max())
        on_grid = (quantizer(theirs) - theirs).abs() <= noise
        legal = on_grid & ((theirs - x).abs() <= (own - x).abs() + 2 * noise)
        if not bool(legal.all()):
            worst = float((theirs - own).abs().max())
            raise ExportDisagreement(f"{target}: the file's rounded values differ by up to {worst:.3g}")
        self.ties += int((theirs != own).sum())
        return theirs
