"""Garbage in cycles: what is new is freed without going through all that was there before."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


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


def hold_what_is_there() -> None:
    """Free all garbage, and never go through the rest again, in a process whose imports stay to its end."""
    gc.collect()
    gc.freeze()
    _let_go_at_exit()


@cache
def _let_go_at_exit() -> None:
    atexit.register(gc.unfreeze)  # or extensions say that their objects leak
