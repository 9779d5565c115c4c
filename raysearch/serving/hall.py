"""The sessions that serve: of a front's variants those that the memory holds, and what inferences take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raysearch.basics.failures import UserError
from raysearch.serving.inputs import Port
from raysearch.serving.latencies import Latencies
from raysearch.serving.limits import Limits
from raysearch.serving.variants import Front, Loaded, load, measure


@dataclass(frozen=True)
class Hall:
    """The sessions that serve, the worst variant first, with what is known of their times."""

    front: Front
    loaded: tuple[Loaded, ...]
    costs: Latencies

    @property
    def ports(self) -> tuple[Port, ...]:
        """The inputs that all variants share."""
        return self.loaded[0].ports


def open_hall(front: Front, limits: Limits, known: Sequence[Loaded] = ()) -> Hall:
    """Open a front, and measure its variants; see ``opened``."""
    loaded = opened(front, limits, known)
    return Hall(front, tuple(loaded), Latencies(measure(loaded)))


def opened(front: Front, limits: Limits, known: Sequence[Loaded] = ()) -> list[Loaded]:
    """Sessions of a front, the smallest models first, as many as the memory takes.

    Args:
        front: what is to be served.
        limits: the memory among them.
        known: sessions that there are already.

    Raises:
        UserError: a file cannot be served, variants take several inputs, or not even the smallest fits.
    """
    there = {one.variant: one for one in known}
    room = float("inf") if limits.max_memory_mb is None else limits.max_memory_mb
    chosen: list[Loaded] = []
    for variant in sorted(front.variants, key=lambda variant: variant.file.stat().st_size):
        holds = variant.file.stat().st_size / 1e6  # at least: what does not fit by that is not even loaded
        if holds <= room:
            one = there.get(variant) or load(variant)
            holds = one.memory_mb
        room -= holds
        if room < 0:
            if not chosen:
                raise UserError(
                    f"max_memory_mb is {limits.max_memory_mb:g}: the smallest model, {variant.name}, holds"
                    f" {holds:.1f} MB"
                )
            break
        chosen.append(one)
        if one.ports != chosen[0].ports:
            raise UserError(
                f"variant {variant.name} takes {named(one.ports)}, {chosen[0].variant.name}"
                f" {named(chosen[0].ports)}: variants that are served together take the same inputs"
            )
    chosen.sort(key=lambda one: front.variants.index(one.variant))
    return chosen


def named(ports: Sequence[Port]) -> str:
    """Inputs as a sentence names them."""
    return ", ".join(f"{port.name} ({port})" for port in ports)
