"""Architectures: ready families, and whatever a user's function makes a network of."""

from raysearch.search_spaces.architectures.architecture import Architecture
from raysearch.search_spaces.architectures.families import (
    decode_architecture,
    enlarge,
    is_own,
    possible_parts,
    prunable_parts,
)
from raysearch.search_spaces.architectures.own import OwnFamily, OwnPlan
from raysearch.search_spaces.architectures.trying import own_family

__all__ = [
    "Architecture",
    "OwnFamily",
    "OwnPlan",
    "decode_architecture",
    "enlarge",
    "is_own",
    "own_family",
    "possible_parts",
    "prunable_parts",
]
