"""What an engineer does in an afternoon: the parent in int8, then pruned uniformly, from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raysearch.search_spaces.domains import Values, nested
from raysearch.search_spaces.space import Space

Config = dict[str, Any]
_LEARNING_RATES = (1.0, 0.5, 2.0)  # of the parent's own


def recipe(space: Space, parent: Mapping[str, Any]) -> Iterator[Config]:
    """Configs in the order in which they would be tried, each variant once.

    The parent's architecture at 8 bits without pruning, then with one ratio for all its parts: the middle of
    the range, the quarters, the eighths ... What is left of the afternoon goes into other learning rates.

    Args:
        space: bound; with pruning and bits.
        parent: the unchanged network.
    """
    seen = set()
    for factor in _LEARNING_RATES:
        for share in _coarse_to_fine():
            config = nested({p: _value(p, v, parent, share, factor) for p, v in space.searched.items()})
            variant = space.variant(config)
            if variant.key not in seen:
                seen.add(variant.key)
                yield config


def _coarse_to_fine(levels: int = 6) -> Iterator[float]:
    """0, 1/2, 1/4, 3/4, 1/8, ..., 1."""
    yield 0.0
    for level in range(1, levels + 1):
        yield from ((2 * i + 1) / 2**level for i in range(2 ** (level - 1)))
    yield 1.0


def _value(
    path: tuple[str, ...], values: Values, parent: Mapping[str, Any], share: float, factor: float
) -> Any:
    special: dict[tuple[str, ...], Callable[[], Any]] = {
        ("pruning", "ratios"): lambda: values.nearest(share * values.ends()[-1]),
        ("teacher", "name"): lambda: values.nearest("none"),
        ("training", "lr"): lambda: values.nearest(factor * parent["training"]["lr"]),
    }
    if path[0] == "bits":
        return values.nearest(False if path[-1] == "own" else 8)
    if path[:2] in special:
        return special[path[:2]]()
    given: Any = parent
    for key in path:
        given = given.get(key) if isinstance(given, Mapping) else None
    return values.middle() if given is None else values.nearest(given)
