"""A network as it is deployed: captured, folded and quantised; its files and its static figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import fx, nn

from raysearch.backends.base import SUFFIXES, Backend
from raysearch.basics.disk import storing
from raysearch.networks import figures
from raysearch.networks.capture import capture
from raysearch.networks.nests import Nest
from raysearch.search_spaces.plans import TrialPlan
from raysearch.storage import patiently
from raysearch.trainables.data.batches import batches
from raysearch.trainables.exits.evaluation import may_leave
from raysearch.trainables.exits.files import ONE, cut_network, write_exit_files
from raysearch.trainables.exits.rule import NEVER, ExitRule
from raysearch.trainables.export import export_litert, export_onnx, export_torch
from raysearch.trainables.quantization import (
    calibrate,
    fold_batch_norm,
    held_bits,
    in_float,
    insert_quantizers,
    rounded_throughout,
    size_mb,
)
from raysearch.trainables.quantization.quantizer import INTEGER_BITS
from raysearch.trainables.setup import CALIBRATION_SAMPLES, FILES
from raysearch.trainables.task import Task

_STORED = {
    "unstructured": "with a bit for each weight that says whether it is zero",
    "2:4": "by two of every four, with two bits of place each",
}
_WRITERS: dict[str, Callable[[fx.GraphModule, Path], None]] = {
    "uint8": export_onnx,
    "int8": partial(export_onnx, form="int8"),
    "litert": export_litert,
    "pt2": export_torch,
}


def as_deployed(
    model: nn.Module,
    task: Task,
    plan: TrialPlan,
    seed: int,
    weight_bits: int = INTEGER_BITS[-1],
    unsigned_bits: int = INTEGER_BITS[-1],
    throughout: bool = False,
) -> fx.GraphModule:
    """The network as it will be exported: captured, batch norm folded, with quantisers that are calibrated.

    Args:
        model: in float; it is left as it is.
        task: gives the form of the inputs, and the examples to calibrate on.
        plan: its bits.
        seed: decides which examples.
        weight_bits: that the integers of weights fit in.
        unsigned_bits: that those of activations without a sign fit in.
        throughout: whether what every layer in integers gives is rounded; see ``rounded_throughout``.
    """
    folded = fold_batch_norm(capture(model, task.example_input(2), task.varying))
    if not plan.bits.quantized:
        return folded
    quantized = insert_quantizers(folded, plan.bits, task.exclude, weight_bits, unsigned_bits)
    if throughout:
        quantized = rounded_throughout(quantized)
    calibrate(quantized, [calibration_inputs(task, seed)])
    return quantized


def calibration_inputs(task: Task, seed: int) -> Nest:
    """Inputs of training examples, by which the steps of activations are chosen."""
    generator = torch.Generator().manual_seed(seed)
    inputs: Nest = next(batches(task.train, CALIBRATION_SAMPLES, generator, task.collate))[0]
    return inputs


def write_files(
    module: fx.GraphModule, folder: Path, forms: Iterable[str], rule: ExitRule = NEVER
) -> dict[str, Path]:
    """Write a deployed network as one file for each form, by form.

    One that inputs may leave early is written as ONNX alone, by its rule; the two files of its cascade lie
    beside it.
    """
    if may_leave(module):
        with storing(folder):
            return {"uint8": write_exit_files(cut_network(module), folder, rule)[ONE]}
    files = {form: folder / FILES[form] for form in forms}
    with storing(folder):
        for form, path in files.items():
            patiently(folder, partial(_WRITERS[form], module, path), missing_too=True)
    return files


def static_figures(
    module: fx.GraphModule, files: Mapping[str, Path], targets: Sequence[Backend], pattern: str = "none"
) -> dict[str, float]:
    """What does not depend on the weights' values: sizes, operations, and memory by what each target runs.

    Args:
        module: as deployed.
        files: of it, by form.
        targets: that run it.
        pattern: of the zeros among its weights, by which its size is counted; see ``size_mb``.
    """
    held = held_bits(module)
    bits = dict.fromkeys(SUFFIXES, held) | {"pt2": None}  # a torch program computes in float
    counted = [t for t in targets if t.figures.get("peak_memory_mb") == "static"]
    memory = {t.name: figures.peak_memory_mb(module, bits[t.form]) for t in counted}
    return {
        "size_mb": size_mb(module, pattern),
        "file_mb": files[targets[0].form].stat().st_size / 1e6,
        "macs": float(figures.macs(module)),
        "params": float(figures.params(module)),
        **{f"peak_memory_mb/{target}": value for target, value in memory.items()},
    }


def remarks(
    module: fx.GraphModule,
    plan: TrialPlan,
    weight_bits: int = INTEGER_BITS[-1],
    targets: Sequence[Backend] = (),
) -> list[str]:
    """Where a chosen precision is not what a runtime computes in, and what zeros are worth."""
    low = sorted({b for b in plan.bits.weights.values() if b < 8})
    found = [f"weights of {b} bits are computed in 8: they count in size_mb, not in latency" for b in low]
    if weight_bits < max((b for b in plan.bits.weights.values() if b in INTEGER_BITS), default=0):
        found.append(f"integer weights lie within {weight_bits} bits: sums overflow beyond on this processor")
    if plan.sparsity is not None:
        fast = [t.name for t in targets if plan.sparsity.pattern in t.sparse]
        found.append(
            f"weights are zero in the pattern {plan.sparsity.pattern}: size_mb counts them as stored "
            f"{_STORED[plan.sparsity.pattern]}; {', '.join(fast) or 'no target here'} computes them faster"
        )
    if any(target.form == "int8" for target in targets) and 8 in plan.bits.activations.values():
        found.append("activations without a sign lie within 7 bits: signed integers of 8 hold no more")
    floats = in_float(module) if plan.bits.quantized else {}
    if floats:
        found.append("in float: " + ", ".join(f"{name} ({why})" for name, why in floats.items()))
    return found
