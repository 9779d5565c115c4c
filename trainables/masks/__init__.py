"""Which weights or channels to keep, found by local search."""

from raysearch.trainables.masks.annealing import Annealing
from raysearch.trainables.masks.genetic import Genetic
from raysearch.trainables.masks.mask_search import (
    Masks,
    MaskSearch,
    apply_masks,
    search_masks,
    trade_off_masks,
)

__all__ = [
    "Annealing",
    "Genetic",
    "MaskSearch",
    "Masks",
    "apply_masks",
    "search_masks",
    "trade_off_masks",
]
