from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from raysearch.basics.quiet import quiet, silent


def test_nothing_is_printed_logged_or_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with quiet(), warnings.catch_warnings(record=True) as caught:
        print("to the output")
        print("to the errors", file=sys.stderr)
        logger.warning("to the log")
        warnings.warn("to the user", stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert not caught
    assert logger.level == before


def test_exceptions_come_through_and_levels_come_back() -> None:
    logger = logging.getLogger("torch.export")
    before = logger.level
    seen = []

    def fail() -> None:
        with quiet():
            seen.append(logger.level)
            raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no$"):
        fail()
    assert seen == [logging.ERROR]
    assert logger.level == before


def test_what_a_library_writes_itself_is_kept_back_and_can_be_read(capfd: pytest.CaptureFixture[str]) -> None:
    with silent() as said:
        os.write(2, b"from C++")
    os.write(2, b"afterwards")
    assert said() == "from C++"
    assert capfd.readouterr().err == "afterwards"
