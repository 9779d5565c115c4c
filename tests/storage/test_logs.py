from __future__ import annotations

import faulthandler
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from raysearch.storage.logs import LIMIT, add, logged


def test_what_is_said_goes_to_the_file_and_where_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "logs" / "0007.log"
    with logged(file):
        print("to the output")
        print("to the errors", file=sys.stderr)
        logging.getLogger("somebody").warning("logged")
        warnings.warn("a warning", stacklevel=1)
    with logged(file):
        print("later")
    text = file.read_text()
    assert all(
        said in text for said in ("to the output", "to the errors", "WARNING somebody: logged", "later")
    )
    assert "to the output" in capsys.readouterr().out


def test_a_failure_passes_and_what_was_said_before_it_is_kept(tmp_path: Path) -> None:
    before = sys.stdout

    def divide() -> None:
        with logged(tmp_path / "log"):
            print("about to divide")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        divide()
    assert (tmp_path / "log").read_text() == "about to divide\n"
    assert sys.stdout is before


def test_silence_makes_no_file(tmp_path: Path) -> None:
    with logged(tmp_path / "logs" / "log"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_grows_so_far_and_no_further(tmp_path: Path) -> None:
    for _ in range(4):
        add(tmp_path / "log", "x" * (LIMIT // 2 - 1))
    text = (tmp_path / "log").read_text()
    assert text.endswith("(what follows was left out)\n")
    assert len(text) < LIMIT + 100


def test_what_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a folder should be")
    with logged(tmp_path / "logs" / "log"):
        print("lost")


def test_the_streams_are_still_those_of_a_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled(), open(tmp_path / "out", "w", encoding="ascii") as out:
        before, sys.stdout = sys.stdout, out
        try:
            with logged(tmp_path / "log"):
                subprocess.run([sys.executable, "-c", "print('of a child')"], stdout=sys.stdout, check=True)
                faulthandler.dump_traceback(sys.stdout)
                assert sys.stdout.encoding.lower() == "ascii"
                sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
                sys.stdout.writelines(["in ", "lines\n"])
        finally:
            sys.stdout = before
    assert "of a child" in (tmp_path / "out").read_text()
    assert (tmp_path / "log").read_text() == "in lines\n"


def test_whoever_keeps_the_stream_of_a_step_keeps_nothing_of_the_next(tmp_path: Path) -> None:
    kept = []
    with logged(tmp_path / "log"):
        kept.append(logging.StreamHandler())
        print("in the step")
        print("x" * 3 * LIMIT)
        held = sys.stdout._copy  # type: ignore[attr-defined]
        assert sum(map(len, held._texts)) <= LIMIT + 1
    for _ in range(100):
        kept[0].emit(logging.makeLogRecord({"msg": "after it"}))
        print("after it", file=kept[0].stream)
    assert not held._texts
    text = (tmp_path / "log").read_text()
    assert text.startswith("in the step\n")
    assert text.endswith("(what follows was left out)\n")
    assert "after it" not in text
