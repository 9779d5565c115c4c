"""How a trial ends, in the journal's words: what searchers, schedulers and the record mean by an outcome."""

from __future__ import annotations

from typing import Literal

Outcome = Literal["finished", "stopped", "failed"]
"""Trained to the last step and exported; stopped by the scheduler; ended by a fault."""
