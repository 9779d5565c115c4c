from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.basics.disk import StorageError
from raysearch.record.tracebacks import keep_traceback


def test_a_traceback_has_a_file_of_its_own(tmp_path: Path) -> None:
    assert keep_traceback(tmp_path, "0007", "Traceback\n  größer\n") == "failures/0007.txt"
    assert (tmp_path / "failures" / "0007.txt").read_text(encoding="utf-8") == "Traceback\n  größer\n"
    assert keep_traceback(tmp_path, "0008", "") == ""
    assert len(list((tmp_path / "failures").iterdir())) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "failures").write_text("")
    with pytest.raises(StorageError):
        keep_traceback(tmp_path, "0007", "Traceback")
