"""The names of what can be pruned and is no layer."""

from __future__ import annotations

HEADS = "(heads)"
"""The last word of the name of an attention's heads, "encoder.0.attention.(heads)": no layer is called so."""


def is_heads(name: str) -> bool:
    """Whether a prunable group is an attention's heads, which are counted instead of channels."""
    return name.rpartition(".")[2] == HEADS


def module_of(name: str) -> str:
    """The module that a part is, or whose heads it is."""
    return name.removesuffix(HEADS).removesuffix(".") if is_heads(name) else name
