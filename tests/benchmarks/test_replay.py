from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import replay
from raysearch.record import journal


def test_a_run_is_made_and_replayed_and_only_the_durable_one_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", waited.append)
    replay.made(tmp_path / "hasty", 12)
    assert not waited
    assert len({e["trial"] for e in journal.read(tmp_path / "hasty") if e["event"] == "end"}) == 13
    for searcher in ("random", "nsga2"):
        assert replay.replayed(tmp_path / "hasty", searcher, with_states=False) > 0
    replay.made(tmp_path / "durable", 12, durable=True)
    assert waited
