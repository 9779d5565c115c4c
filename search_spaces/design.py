"""The fixed design that a search starts from, before it samples.

Random bits for each layer are mostly slower than float, so a search that starts from random draws learns
little; uniform 8-bit networks, pruned uniformly, are the known good ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from raysearch.search_spaces.architectures.stages import EXITS, NO_EXIT
from raysearch.search_spaces.bit_widths import FLOAT
from raysearch.search_spaces.domains import Path, Values, nested

SHARES = (0.3, 0.6, 0.9)
"""The three uniform pruning ratios, as shares of the largest ratio of each part."""


def fixed_design(searched: Mapping[Path, Values], parent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Raw configs with every searched key: the parent at uniform 8/8, then pruned at three ratios as well."""
    for share in (0.0, *SHARES):
        yield nested({path: _value(path, values, parent, share) for path, values in searched.items()})


def parents_own(searched: Mapping[Path, Values], parent: Mapping[str, Any]) -> dict[str, Any]:
    """The raw config nearest to the parent, with every searched key: unpruned, at 32 bits part by part."""
    found = {path: _value(path, values, parent, 0.0) for path, values in searched.items()}
    bits = {path: values for path, values in searched.items() if path[0] == "bits"}
    found |= {path: values.nearest(True if path[-1] == "own" else FLOAT) for path, values in bits.items()}
    return nested(found)


def _value(path: Path, values: Values, parent: Mapping[str, Any], share: float) -> Any:
    section, *rest = path
    if section == "pruning" and rest[0] == "ratios":
        return values.nearest(share * values.ends()[-1])
    if section == "pruning" and rest[0] == "sparsity":
        return values.nearest({"pattern": "none", "criterion": "magnitude", "steps": 1}.get(rest[1], 0.0))
    if section == "pruning" and rest[0] == "steps":
        return values.nearest(1)
    if section == "bits":
        return values.nearest(False if rest[-1] == "own" else 8)
    if path == ("teacher", "name"):
        return values.nearest("none")
    if path == ("architecture", EXITS) and NO_EXIT in values.ends():
        return NO_EXIT
    given: Any = parent
    for key in path:
        given = given.get(key) if isinstance(given, Mapping) else None
    return values.middle() if given is None else values.nearest(given)
