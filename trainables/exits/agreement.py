"""Whether both forms of a network that inputs may leave early compute what the torch module does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, fx

from raysearch.backends import get
from raysearch.backends.base import Array, Backend, CompiledModel, Feed
from raysearch.backends.cascade import Cascade
from raysearch.networks.exits import Exits
from raysearch.networks.nests import Nest
from raysearch.trainables.data.batches import Batch, Collate, Examples, batches
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.exits.evaluation import Leaving
from raysearch.trainables.exits.files import EARLY, LATE, ONE
from raysearch.trainables.exits.rule import ExitRule, confidence
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.agreement import TOLERANCE, Agreement, onnx_error
from raysearch.trainables.export.differences import ExportDisagreement, largest_difference
from raysearch.trainables.export.feeds import feed_of

_NOISE = 1e-5  # of a confidence, in another order of sums


def check_exits(
    module: fx.GraphModule,
    rule: ExitRule,
    folder: Path,
    backend: Backend,
    examples: Examples,
    collate: Collate | None = None,
    samples: int = 64,
) -> Agreement:
    """Run both forms on their target, and make sure that they compute what the module does.

    The network's file with two outputs is compared with the module, value by value (see ``onnx_error``); both
    forms, run as they are written, give what that file gives.

    Args:
        module: the captured network, on any device.
        rule: when an input leaves.
        folder: where its files lie.
        backend: where they will run.
        examples: of (inputs, targets); both forms run on all of them.
        collate: makes a batch of a list of examples.
        samples: from the beginning, how many are compared with the module.

    Raises:
        ExportDisagreement: an output differs by more than 1e-4 of its range.
        MeasurementError: the target cannot load a file.
    """
    inputs, _ = next(batches(examples, samples, collate=collate))
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / ONE
        export_onnx(module, path)
        error, ties = onnx_error(module, path, inputs)
        if not error <= TOLERANCE:
            raise ExportDisagreement(
                f"{ONE} does not compute what the module does: outputs differ by {error:.1e} of their range"
            )
        _check_forms(path, rule, folder, inputs)
    one = backend.load(folder / ONE)
    cascade = Cascade(backend, folder / EARLY, folder / LATE)
    reference = Leaving(module, rule).eval()
    predicted: list[Batch] = []
    same: list[list[Tensor]] = [[], []]
    for given, targets in batches(examples, 256, collate=collate):
        outputs = [_output(form, given) for form in (one, cascade)]
        predicted.append((outputs[0], targets))
        wanted = outputs_of(reference, given).argmax(1)
        for known, found in zip(same, outputs, strict=True):
            known.append(found.argmax(1) == wanted)
    top1 = min(float(torch.cat(known).float().mean()) for known in same)
    return Agreement(error, ties, top1, predicted)


def _check_forms(whole: Path, rule: ExitRule, folder: Path, inputs: Nest) -> None:
    """Make sure that both forms, run as they are written, give what the file with two outputs gives."""
    runtime = get("onnxruntime-cpu")
    early, last = (torch.from_numpy(a) for a in runtime.load(whole, optimize=False)(feed_of(inputs)))
    # Where the confidence is the threshold but for noise, either output is right.
    clear = (confidence(early, rule.temperature) - rule.threshold).abs() > _NOISE
    due = rule.outputs(Exits(early, last))[clear]
    one = runtime.load(folder / ONE, optimize=False)
    cascade = Cascade(_AsWritten(runtime), folder / EARLY, folder / LATE)
    for what, form in (("the one file", one), ("the two files", cascade)):
        difference = largest_difference(due, [_output(form, inputs)[clear]])
        if not difference <= TOLERANCE:
            raise ExportDisagreement(
                f"{what} of the early exit and the network give outputs that differ by {difference:.1e} of "
                "their range"
            )


class _AsWritten:
    """A runtime that optimises nothing."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def load(self, path: Path) -> CompiledModel:
        return self._backend.load(path, optimize=False)


def _output(form: Callable[[Feed], tuple[Array, ...]], inputs: Nest) -> Tensor:
    return torch.from_numpy(form(feed_of(inputs))[0])
