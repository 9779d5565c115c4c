"""Removing channels, and removing the same ones again when a variant is rebuilt."""

from raysearch.trainables.pruning.criteria import channel_scores
from raysearch.trainables.pruning.removal import History, prune, prune_like, remove_masked

__all__ = ["History", "channel_scores", "prune", "prune_like", "remove_masked"]
