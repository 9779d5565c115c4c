"""Garbage in cycles, freed without going through all that was there before."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def new_garbage_freed() -> Iterator[None]:
    """Free at the end what became garbage inside.

    To go through all objects takes a third of a second in a process that has imported torch and Ray, and is
    needless for what is new.
    """
    held = gc.get_freeze_count() > 0
    if not held:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if not held:
            gc.unfreeze()
