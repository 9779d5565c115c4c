"""What the front of the measurement service must not forget: if it is killed, the next one reads it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.backends.base import Feed

_FIGURES, _SPARED = "known.jsonl", "spared.jsonl"


@dataclass(frozen=True, eq=False)
class Reference:
    """What the models of a target are compared with.

    Attributes:
        model: the bytes of its file.
        example: a batch of inputs by name.
    """

    model: bytes
    example: Feed


class Notes:
    """References, figures and what need not be measured, on the disk of the node where the front is.

    Args:
        folder: made where it is missing; None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (_FIGURES, _SPARED):
                self._append(name, "\n")  # after the line in which another front may have died

    def figures(self) -> Iterator[dict[str, Any]]:
        """The figures that were noted, the later of the same key after the earlier."""
        return self._lines(_FIGURES)

    def spared(self) -> dict[str, tuple[Mapping[str, Any] | None, list[float]]]:
        """By target what a predictor of it knew before, and the limits: see ``Spared.allow``."""
        return {line["target"]: (line["known"], line["limits"]) for line in self._lines(_SPARED)}

    def references(self) -> dict[str, Reference]:
        """The references that were noted whole, by target."""
        found = {}
        for folder in sorted(self._folder.glob("references/*/")) if self._folder else ():
            with suppress(OSError, ValueError, KeyError), np.load(folder / "example.npz") as example:
                target = json.loads((folder / "target.json").read_text(encoding="utf-8"))
                found[target] = Reference((folder / "model").read_bytes(), dict(example))
        return found

    def note_figures(self, figures: Iterable[Mapping[str, Any]]) -> None:
        """Write down figures as dictionaries."""
        self._append(_FIGURES, "".join(json.dumps(dict(figure)) + "\n" for figure in figures))

    def note_spared(self, target: str, known: Mapping[str, Any] | None, limits: Sequence[float]) -> None:
        """Write down that predictions of a target will do."""
        line = {"target": target, "known": known, "limits": list(limits)}
        self._append(_SPARED, json.dumps(line) + "\n")

    def note_reference(self, target: str, reference: Reference) -> None:
        """Write down a target's reference in the place of an earlier one."""
        if self._folder is None:
            return
        place = self._folder / "references" / hashlib.sha256(target.encode()).hexdigest()[:16]
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        (part / "model").write_bytes(reference.model)
        (part / "target.json").write_text(json.dumps(target), encoding="utf-8")
        np.savez(part / "example.npz", allow_pickle=False, **reference.example)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(part, place)

    def remove(self) -> None:
        """Forget all."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _append(self, name: str, lines: str) -> None:
        if self._folder is not None:
            with (self._folder / name).open("a", encoding="utf-8") as file:
                file.write(lines)

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        lines = (self._folder / name).read_text(encoding="utf-8") if self._folder else ""
        for line in lines.splitlines():
            with suppress(ValueError):
                yield json.loads(line)
