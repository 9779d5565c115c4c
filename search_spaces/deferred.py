"""A space that waits for the model or the architecture space that it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raysearch.basics.failures import UserError


@dataclass(frozen=True)
class Deferred:
    """What ``channel_pruning``, ``weight_sparsity`` and ``bit_widths`` give when ``over`` is left out.

    A Study (through ``bind``) supplies ``over`` and gets the plain Tune domains. Two are joined by ``|``.
    """

    maker: Callable[..., dict[str, Any]]
    keywords: Mapping[str, Any]
    by_layers: bool = False  # goes by layers with weights, not by groups whose channels can be removed
    exclude: tuple[str, ...] = ()  # beside what is excluded of the task
    joined: tuple[Deferred, ...] = ()

    def __or__(self, other: Any) -> Deferred:
        """Both together, as one section of a space.

        Raises:
            UserError: the other one is bound already.
        """
        if not isinstance(other, Deferred):
            raise UserError(
                "one of the functions joined by | has over= and the other has not: give it to both"
            )
        return replace(self, joined=(*self.joined, other))

    def __ror__(self, other: Any) -> Deferred:
        """Refused: the first one is bound already."""
        return self.__or__(other)

    @property
    def all(self) -> tuple[Deferred, ...]:
        """This one and those that were joined to it."""
        return (self, *(each for other in self.joined for each in other.all))

    def bind(self, over: Any, exclude: Sequence[str] = (), layers: Any = None) -> dict[str, Any]:
        """Make the domains over an architecture space or a pair (model, example input).

        Args:
            over: either, or the names of groups.
            exclude: layers, or parts with all their layers, that the domains leave out.
            layers: names for what goes by layers, where they are not ``over``'s.
        """
        found: dict[str, Any] = {}
        for each in self.all:
            mine = layers if each.by_layers and layers is not None else over
            whole = (*exclude, *each.exclude) if each.exclude else exclude
            found |= each.maker(over=mine, exclude=whole, **each.keywords)
        return found
