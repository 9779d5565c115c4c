from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from raysearch.basics.garbage import hold_what_is_there, new_garbage_freed


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def nothing_held() -> Iterator[None]:
    """As in a process where nobody has frozen anything."""
    gc.unfreeze()
    yield
    gc.enable()
    hold_what_is_there()


def test_what_became_garbage_inside_is_freed_and_what_was_there_is_not_looked_at(nothing_held: None) -> None:
    gc.disable()
    before = weakref.ref(Cycle())
    with new_garbage_freed():
        inside = weakref.ref(Cycle())
    assert inside() is None
    assert before() is not None
    assert gc.get_freeze_count() == 0
    gc.enable()
    gc.collect()
    assert before() is None


def test_an_error_passes_and_what_others_hold_stays_held() -> None:
    gc.freeze()
    held = gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError), new_garbage_freed():
        1 / 0  # noqa: B018
    assert gc.get_freeze_count() >= held - 1000


def test_what_is_held_is_freed_of_garbage_first() -> None:
    gone = weakref.ref(Cycle())
    hold_what_is_there()
    assert gone() is None
    assert gc.get_freeze_count() > 0
