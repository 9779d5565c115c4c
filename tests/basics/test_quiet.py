from __future__ import annotations

import logging
import sys
import warnings

import pytest

from raysearch.basics.quiet import quiet


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
