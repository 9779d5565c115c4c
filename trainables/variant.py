"""A variant on disk: spec.json says how it is built, weights.safetensors what it learnt; never unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raysearch import storage
from raysearch.basics.failures import MissingFile, UserError, failure
from raysearch.networks.capture import capture
from raysearch.networks.copying import copy_of
from raysearch.networks.exits import Exits
from raysearch.networks.nests import Nest
from raysearch.search_spaces.architectures import OwnPlan, decode_architecture
from raysearch.search_spaces.bit_widths import BitWidthPlan, encode_bits
from raysearch.search_spaces.plans import TrialPlan
from raysearch.storage import folder_of
from raysearch.trainables.evaluation import outputs_of
from raysearch.trainables.exits.evaluation import Leaving
from raysearch.trainables.exits.rule import ExitRule
from raysearch.trainables.models.ready import build_network
from raysearch.trainables.pruning import History, prune_like
from raysearch.trainables.quantization import fold_batch_norm, insert_quantizers, rounded_throughout
from raysearch.trainables.quantization.quantizer import INTEGER_BITS
from raysearch.trainables.task import Builder, Task, make

SPEC, WEIGHTS = "spec.json", "weights.safetensors"
DIGESTS = "sha256"
VERSION = 2
_LARGEST = 2**31  # numbers in an input

Model = nn.Module | Builder


def save_variant(
    folder: Path | str,
    module: nn.Module,
    plan: TrialPlan,
    *,
    task: Task,
    history: History | None = None,
    weight_bits: int = INTEGER_BITS[-1],
    unsigned_bits: int = INTEGER_BITS[-1],
    throughout: bool = False,
    rule: ExitRule | None = None,
) -> None:
    """Write a variant's spec and weights, and the digests of these and of the model files that lie there.

    Args:
        folder: made where it is missing.
        module: as deployed: captured, folded, and with the plan's quantisers where it has any.
        plan: what it was made from.
        task: gives the form of the inputs and the number of logits.
        history: of the channels that were pruned.
        weight_bits: that the integers of its weights fit in.
        unsigned_bits: that those of its activations without a sign fit in.
        throughout: whether what every layer in integers gives is rounded.
        rule: when an input leaves early; None: the network is run to its end.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "version": VERSION,
        "task": task.name,
        "inputs": described(task.example_input()),
        "varying": {name: list(axes.items()) for name, axes in task.varying.items()},
        "classes": None if plan.architecture is None else _classes(module, task.example_input()),
        "architecture": None if plan.architecture is None else plan.architecture.encode(),
        "pruning": [[root, channels] for root, channels in history or []],
        "bits": encode_bits(plan.bits),
        "exclude": list(task.exclude),
        "weight_bits": weight_bits,
        "unsigned_bits": unsigned_bits,
        "throughout": throughout,
        "own_model": not task.is_ready,
        "own_architecture": isinstance(plan.architecture, OwnPlan),
        **({"exit": rule.to_dict()} if rule else {}),
    }
    weights = {k: v.detach().cpu().clone().contiguous() for k, v in module.state_dict().items()}
    save_file(weights, folder / f"{WEIGHTS}.part")
    (folder / f"{WEIGHTS}.part").chmod(0o644)  # safetensors lets the owner alone read it
    os.replace(folder / f"{WEIGHTS}.part", folder / WEIGHTS)
    spec[DIGESTS] = digests_of(folder, sorted(p.name for p in folder.iterdir() if p.name != SPEC))
    (folder / SPEC).write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")


def digests_of(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files, by name.

    Raises:
        OSError: one of them cannot be read.
    """
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}


def load_variant(folder: Path | str, model: Model | None = None) -> nn.Module:
    """Rebuild a variant from its folder, in torch, on the CPU and in evaluation mode.

    The network is built, pruned as it was, folded and given its quantisers; then its weights are loaded.

    Args:
        folder: with spec.json and weights.safetensors; a path, or a URL such as "s3://...".
        model: where the network is not one of raysearch's own: the module that was compressed, or the
            function or class that made it (the task's ``model``). It is left as it is.

    Returns:
        The module that was exported, with its fake quantisers. One that inputs may leave early gives what its
        files give, and computes both outputs for that (``Leaving``).

    Raises:
        MissingFile: the folder holds no variant.
        ValueError: a file is damaged, the spec is of another version, the model is needed or is another one.
    """
    place = folder_of(folder)
    if not storage.exists(place / SPEC):
        raise MissingFile(f"{place} holds no variant: give a folder such as RUN/variants/0007")
    with storage.fetched(place) as here:
        return _rebuilt(here, model)


def rule_in(folder: Path) -> ExitRule | None:
    """When inputs leave a variant early; None of one that is run to its end, or holds no spec."""
    if not (folder / SPEC).is_file():
        return None
    spec = _read(folder)
    with _undamaged(folder / SPEC):
        return ExitRule.of(spec["exit"]) if "exit" in spec else None


def _rebuilt(folder: Path, model: Model | None) -> nn.Module:
    spec = _read(folder)
    with _undamaged(folder / SPEC):
        history = [(str(root), [int(c) for c in channels]) for root, channels in spec["pruning"]]
        inputs = example_of(spec["inputs"])
        varying = {name: {int(axis): size for axis, size in axes} for name, axes in spec["varying"].items()}
        bits = _bits(spec["bits"])
        plan = _plan(spec)
        rule = ExitRule.of(spec["exit"]) if "exit" in spec else None
    network = _build(spec, plan, model, folder)
    module = fold_batch_norm(capture(prune_like(network, inputs, history), inputs, varying))
    if bits.quantized:
        within = [spec.get(name, INTEGER_BITS[-1]) for name in ("weight_bits", "unsigned_bits")]
        module = insert_quantizers(module, bits, spec["exclude"], *within)
        module = rounded_throughout(module) if spec.get("throughout", False) else module
    _load(module, folder)
    return (Leaving(module, rule) if rule else module).eval()


def _read(folder: Path) -> dict[str, Any]:
    """The spec of a variant's folder."""
    path = folder / SPEC
    if not path.is_file():
        raise MissingFile(f"{folder} holds no variant: give a folder such as RUN/variants/0007")
    with _undamaged(path):
        spec: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = spec.get("version")
    if version != VERSION:
        raise UserError(
            f"{path} has version {version!r}, this raysearch rebuilds {VERSION}: run the model file "
            f"beside it, or rebuild it with the raysearch that wrote it"
        )
    return spec


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Reading a file while it lasts; what it must hold and does not is the file's fault.

    Raises:
        UserError: the file is damaged.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OSError) as error:
        raise UserError(
            f"{path} is damaged: {failure(error)}; take the variant from a copy of the run"
        ) from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}; take the variant from a copy of the run") from None


def _plan(spec: Mapping[str, Any]) -> Any:
    """The architecture's plan; None where the network is the task's own."""
    given = spec["architecture"]
    if given is None:
        return None
    return OwnPlan(given) if spec.get("own_architecture", False) else decode_architecture(given)


def _build(spec: dict[str, Any], plan: Any, model: Model | None, folder: Path) -> nn.Module:
    own = isinstance(plan, OwnPlan)
    if isinstance(model, nn.Module):
        return copy_of(model).cpu()
    if model is not None:
        return make(model, plan)
    if plan is None or own:
        raise UserError(f"{folder} holds a variant of a model of your own: give it as model=...")
    return build_network(plan, spec["inputs"]["shape"], spec["classes"])


def _bits(spec: dict[str, dict[str, int]]) -> BitWidthPlan:
    return BitWidthPlan(
        {part: bits["weights"] for part, bits in spec.items()},
        {part: bits["activations"] for part, bits in spec.items()},
    )


def _load(module: nn.Module, folder: Path) -> None:
    if not (folder / WEIGHTS).is_file():
        raise MissingFile(f"{folder} holds no {WEIGHTS}: take the variant from a copy of the run")
    with _undamaged(folder / WEIGHTS):
        weights = load_file(folder / WEIGHTS)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in sorted(shapes.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else None
        if shapes.get(name) != found:
            raise UserError(
                f"{folder} holds a variant of another model: {name!r} has shape {found} in {WEIGHTS} and "
                f"{shapes.get(name)} in the model; give the model that was compressed as model=..."
            )
    module.load_state_dict(weights)


def described(inputs: Nest) -> Any:
    """The form of a batch of inputs as JSON: shapes without the batch, types, and how they are nested."""
    if isinstance(inputs, Tensor):
        return {"shape": list(inputs.shape[1:]), "dtype": str(inputs.dtype).removeprefix("torch.")}
    if isinstance(inputs, Mapping):
        return {"mapping": {name: described(value) for name, value in inputs.items()}}
    return {"tuple": [described(value) for value in inputs]}


def example_of(form: Any) -> Nest:
    """A batch of two inputs of a described form, all zeros."""
    if "mapping" in form:
        return {name: example_of(value) for name, value in form["mapping"].items()}
    if "tuple" in form:
        return tuple(example_of(value) for value in form["tuple"])
    dtype = getattr(torch, form["dtype"])
    if not isinstance(dtype, torch.dtype) or math.prod(form["shape"]) > _LARGEST:
        raise ValueError(f"{form} is no form of an input")
    return torch.zeros(2, *form["shape"], dtype=dtype)


def _classes(module: nn.Module, inputs: Nest) -> int | None:
    """The number of logits; None where the outputs are none."""
    outputs = outputs_of(module, inputs)
    outputs = outputs.last if isinstance(outputs, Exits) else outputs
    return int(outputs.shape[1]) if isinstance(outputs, Tensor) and outputs.dim() > 1 else None
