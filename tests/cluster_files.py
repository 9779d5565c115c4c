"""The files of clusters/, read, and wrong versions of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "clusters"


def read(name: str) -> dict[str, Any]:
    """A file of clusters/ as it is parsed by ``ray up`` and ``kubectl``."""
    document = yaml.safe_load((CLUSTERS / name).read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def changed(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A document with another value at a path such as "spec/rayVersion"; None takes the key away."""
    wrong = copy.deepcopy(dict(document))
    place: Any = wrong
    *sections, last = path.split("/")
    for section in sections:
        place = place[int(section) if isinstance(place, list) else section]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return wrong


def pins() -> dict[str, str]:
    """The versions that constraints.txt names, by package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)
