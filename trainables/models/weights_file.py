"""Trained weights of a network from a local file, PyTorch's or safetensors'."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from raysearch.basics.failures import UserError, first_line
from raysearch.basics.files import WEIGHTS

_INSIDE = ("state_dict", "model")  # where training scripts keep the weights beside other things
_NAMED = 5  # tensors in a message


def is_file(weights: str | Path) -> bool:
    """Whether weights are a file's, by its suffix or since a path leads to it, rather than a name."""
    path = Path(weights)
    return path.suffix in WEIGHTS or len(path.parts) > 1 or isinstance(weights, Path)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file, by their names.

    Args:
        path: what ``torch.save(model.state_dict(), path)`` wrote, or a mapping that holds such a one under
            "state_dict" or "model", or safetensors. Nothing in it is executed.

    Raises:
        UserError: there is no such file, or it holds no weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"weights: there is no file {path}")
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else _load(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UserError(
            f"weights: {path} cannot be read ({first_line(error)}): give what torch.save(model.state_dict(), "
            "path) wrote, or safetensors"
        ) from error
    for key in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(t, Tensor) for t in found.values()):
        raise UserError(
            f"weights: {path} holds no tensors by their names: give what torch.save(model.state_dict(), "
            "path) wrote, or safetensors"
        )
    return {str(name): tensor for name, tensor in found.items()}


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def load_weights(model: nn.Module, path: str | Path, head: str, classes: int) -> bool:
    """Give a fresh model the weights of a file; what gives classes stays fresh where the file's are others.

    Args:
        model: with ``classes`` outputs; it is changed in place.
        path: of the file.
        head: the name of its last layer.
        classes: how many outputs it has.

    Returns:
        Whether all weights are the file's.

    Raises:
        UserError: the file cannot be read, lacks tensors of the model, has others, or some of another shape.
    """
    given, own = read_weights(path), model.state_dict()
    last = given.get(f"{head}.weight")
    others = len(last) if last is not None and last.dim() else classes
    fresh = {
        name
        for name, tensor in given.items()
        if others != classes and name in own and _of_classes(tensor, others, own[name], classes)
    }
    kept = {name: tensor for name, tensor in given.items() if name not in fresh}
    # Files that are older than this counter lack it.
    missing = [n for n in own if n not in given and not n.endswith("num_batches_tracked")]
    wrong = [n for n in kept if n in own and own[n].shape != kept[n].shape]
    for what, names in (
        ("lacks", missing),
        ("has what the model lacks,", [n for n in given if n not in own]),
        ("has another shape in", wrong),
    ):
        if names:
            raise UserError(
                f"weights: {path} {what} {_listed(names)}: give the weights of this very model "
                f"({type(model).__name__})"
            )
    model.load_state_dict(kept, strict=False)
    return not fresh


def _of_classes(given: Tensor, others: int, own: Tensor, classes: int) -> bool:
    """Whether a tensor has the file's classes where the model's has its own; auxiliary heads have too."""
    return (
        given.dim() > 0
        and given.dim() == own.dim()
        and (len(given), len(own)) == (others, classes)
        and given.shape[1:] == own.shape[1:]
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
