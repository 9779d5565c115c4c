"""What takes the room is named, and all of it is counted."""

from __future__ import annotations

from pathlib import Path

from raysearch.storage.room import room, room_text


def test_entries_are_counted_with_all_that_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "variants" / "0001").mkdir(parents=True)
    (tmp_path / "variants" / "0001" / "model.onnx").write_bytes(b"0" * 2_000_000)
    (tmp_path / "variants" / "0001" / "spec.json").write_bytes(b"0" * 100_000)
    (tmp_path / "journal.jsonl").write_bytes(b"0" * 300_000)
    (tmp_path / "trials").mkdir()
    assert room(tmp_path) == {"variants": 2_100_000, "journal.jsonl": 300_000, "trials": 0}
    said = "The run's folder holds 2.4 MB: variants 2.1 MB, journal.jsonl 0.3 MB"
    assert room_text(tmp_path) == said
