"""What every decoded architecture offers, whatever its family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from raysearch.search_spaces.domains import Path


class Architecture(Protocol):
    """A sampled architecture: the plan that a network is built of."""

    def parts(self) -> tuple[str, ...]:
        """The parts that it has, in their order; pruning ratios and bits go by them."""

    def widths(self) -> Mapping[str, int]:
        """The output channels of what can be pruned, by part or by the layers inside parts."""

    def known_parts(self) -> tuple[str, ...]:
        """The parts that networks of its kind can have, the output last."""

    def pruned_parts(self) -> tuple[str, ...]:
        """Those of the known parts that can lose channels."""

    def reads(self, path: Path) -> bool:
        """Whether the value at a path of the architecture space matters to this network."""

    def may_exit(self) -> bool:
        """Whether its network may be left early, as far as is known without making it."""

    def encode(self) -> dict[str, Any]:
        """The canonical config, JSON types only, which decodes to the same plan."""

    def enlarged(self, factor: int) -> Architecture:
        """The network of a larger teacher: every width times ``factor``.

        Raises:
            UserError: it has no widths that are known.
        """
