"""Names that become names of files: what cannot lead out of a folder, on any system; and a target's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 100
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]*[A-Za-z0-9_+-])?")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}

FORM = f"letters, digits, '.', '_', '+' and '-', at most {LONGEST} of them, and no device's name such as CON"
"""What a plain name is made of, in words."""


def name_of_target(described: Any) -> Any:
    """What a described target is called: its own name, else its runtime's; None where it has neither."""
    return described.get("name", described.get("runtime")) if isinstance(described, Mapping) else described


def is_plain(name: object) -> bool:
    """Whether a value is a name that can be a file's on every system: no path, no device, not too long."""
    return (
        isinstance(name, str)
        and len(name) <= LONGEST
        and _PLAIN.fullmatch(name) is not None
        and name.partition(".")[0].lower() not in _DEVICES
    )
