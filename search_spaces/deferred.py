"""A space that waits for the model or the architecture space that it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """What ``channel_pruning`` and ``bit_widths`` give when ``over`` is left out.

    A Study (through ``bind``) supplies ``over`` and gets the plain Tune domains.
    """

    maker: Callable[..., dict[str, Any]]
    keywords: Mapping[str, Any]

    def bind(self, over: Any, exclude: Sequence[str] = ()) -> dict[str, Any]:
        """Make the domains over an architecture space or a pair (model, example input).

        Args:
            over: either.
            exclude: layers, or parts with all their layers, that the domains leave out.
        """
        return self.maker(over=over, exclude=exclude, **self.keywords)
