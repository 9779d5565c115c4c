"""A state as a file that knows whether it is whole: torch reads a flipped bit as if it were none."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import torch

from raysearch import storage
from raysearch.storage import Place

_HEAD = b"sha256 "
_LENGTH = len(_HEAD) + 65  # with the digest in hexadecimal and the end of the line


def write_state(place: Place, state: Mapping[str, Any]) -> None:
    """Write what ``torch.save`` writes, after a line with its digest."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    storage.write(place, _HEAD + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def read_state(place: Place, device: torch.device) -> dict[str, Any]:
    """The state of a file that ``write_state``, or an earlier version without a digest, has written.

    Raises:
        FileNotFoundError: there is none.
        StorageError: storage does not answer.
        Exception: it cannot be read, or is damaged; whatever torch raises of such a file.
    """
    content = storage.read(place)
    if content.startswith(_HEAD):
        digest, content = content[len(_HEAD) : _LENGTH - 1], content[_LENGTH:]
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise ValueError("its content has another digest than it says")
    state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True, map_location=device)
    return state
