"""All cases by name."""

from __future__ import annotations

import inspect

import torch

from benchmarks.own_models import images, sequences, targets
from benchmarks.own_models.case import Case

_MAKERS = {make.__name__: make for make in (*sequences.CASES, *images.CASES, *targets.CASES)}
NAMES = tuple(_MAKERS)


def case(name: str) -> Case:
    """A case, made anew; always the same."""
    torch.manual_seed(0)
    return _MAKERS[name]()


def described(name: str) -> str:
    """A case in a few words."""
    return inspect.getdoc(_MAKERS[name]).rstrip(".")
