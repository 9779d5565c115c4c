"""A journal's events as algorithms take them in that know the run's limits and targets of now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raysearch.record.run_record import TrialRecord

Event = Mapping[str, Any]

_REPLAYED = ("suggestion", "report", "promotion", "end")


def limits_in(events: Sequence[Event]) -> list[Event]:
    """The events by which the run's limits were changed."""
    return [event for event in events if event["event"] == "limits"]


def as_of_now(events: Sequence[Event], mine: Callable[[Event], TrialRecord | None]) -> list[Event]:
    """The events of trials as they would be had the limits of now held from the beginning.

    Reports have the figures measured since on targets that came later. What a searcher had worked out under
    other limits it works out anew.

    Args:
        events: of the journal, in its order.
        mine: the trial of an event; None where it is not to be replayed.
    """
    changed = max((place for place, event in enumerate(events) if event["event"] == "limits"), default=0)
    return [
        _known_now(event, trial, place < changed)
        for place, event in enumerate(events)
        if event["event"] in _REPLAYED and (trial := mine(event)) is not None
    ]


def _known_now(event: Event, trial: TrialRecord, before_a_change: bool) -> Event:
    if event["event"] == "report" and trial.later:
        event = {**event, "values": trial.figures[event["step"]]}
    if before_a_change and "worked" in event:
        event = {field: value for field, value in event.items() if field != "worked"}
    return event
