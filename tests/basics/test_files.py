from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.basics.failures import MissingFile, UserError
from raysearch.basics.files import read_text


def test_a_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("größer", encoding="utf-8")
    assert read_text(tmp_path / "a.yaml", "study file") == "größer"


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"a\xff")
    with pytest.raises(MissingFile, match=r"study file .*nothing does not exist"):
        read_text(tmp_path / "nothing", "study file")
    with pytest.raises(UserError, match="is a folder: give a file"):
        read_text(tmp_path, "study file")
    with pytest.raises(UserError, match="is no text in UTF-8: invalid start byte at byte 1"):
        read_text(tmp_path / "bytes", "study file")
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        read_text(tmp_path / "bytes" / "inside", "study file")
