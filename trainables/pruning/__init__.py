"""Removing channels, removing the same ones again when a variant is rebuilt, and searching what to remove."""

from raysearch.trainables.pruning.annealing import Annealing
from raysearch.trainables.pruning.criteria import channel_scores
from raysearch.trainables.pruning.genetic import Genetic
from raysearch.trainables.pruning.mask_search import (
    Masks,
    MaskSearch,
    apply_masks,
    search_masks,
    trade_off_masks,
)
from raysearch.trainables.pruning.removal import History, prune, prune_like, remove_masked

__all__ = [
    "Annealing",
    "Genetic",
    "History",
    "MaskSearch",
    "Masks",
    "apply_masks",
    "channel_scores",
    "prune",
    "prune_like",
    "remove_masked",
    "search_masks",
    "trade_off_masks",
]
