"""The trained weights of a reference: written with their digest, refused where that does not fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from raysearch import storage
from raysearch.basics.failures import first_line
from raysearch.storage import Place

if TYPE_CHECKING:
    from raysearch.trainables.setup import TrialSetup

_DIGEST = "sha256"


class LostReference(RuntimeError):
    """What a trial needs of a reference is missing or damaged, and has to be made again.

    Attributes:
        name: the reference's.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the weights of the {name} network are lost: {why}")
        self.name = name


def write_weights(place: Place, weights: Mapping[str, Tensor], aside: Place | None = None) -> None:
    """Write tensors, each a copy of its own, as a safetensors file that holds their digest.

    Args:
        place: the file.
        weights: by name.
        aside: see ``storage.write``.
    """
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    storage.write(place, save(whole, metadata={_DIGEST: _digest(whole)}), aside=aside)


def read_weights(place: Place) -> dict[str, Tensor]:
    """The tensors of a file that ``write_weights``, or an earlier version without a digest, has written.

    Raises:
        OSError: it cannot be read.
        SafetensorError: it is no whole file.
        ValueError: its tensors are not those that were written.
    """
    content = storage.read(place)
    weights: dict[str, Tensor] = load(content)
    if _noted(content) not in (None, _digest(weights)):
        raise ValueError(f"{place} is damaged: its tensors have another digest than it says")
    return weights


def reference_weights(setup: TrialSetup, name: str) -> dict[str, Tensor]:
    """The trained float weights of a reference.

    Raises:
        LostReference: they are missing or damaged.
    """
    try:
        return read_weights(setup.reference_weights(name))
    except (OSError, SafetensorError, ValueError) as error:
        raise LostReference(name, first_line(error)) from error


def reference_parts(setup: TrialSetup) -> dict[str, list[float]]:
    """The parent's metrics on parts of the validation split; empty where no parent was trained.

    Raises:
        LostReference: the file is missing, where it was written, or damaged.
    """
    place = setup.parts_file
    try:
        return dict(json.loads(storage.read(place)))
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, FileNotFoundError) and "parent" not in setup.made:
            return {}
        raise LostReference("parent", first_line(error)) from error


def _noted(content: bytes) -> str | None:
    """The digest in the head of a safetensors file, which says first how long it is."""
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    noted: str | None = head.get("__metadata__", {}).get(_DIGEST)
    return noted


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
