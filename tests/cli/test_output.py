from __future__ import annotations

import json

import numpy as np
import pytest
import typer

from raysearch.basics.extras import MissingExtra
from raysearch.basics.failures import MissingFile, RunError, UserError
from raysearch.cli.output import one_sentence, plain, print_table


def test_json_knows_no_nan_and_no_numpy() -> None:
    assert plain({1: np.float64(2), "x": [float("nan"), np.inf, np.bool_(True)]}) == {
        "1": 2.0,
        "x": [None, None, True],
    }


@pytest.mark.parametrize(
    ("error", "code"), [(UserError, 2), (MissingFile, 2), (MissingExtra, 2), (RunError, 1)]
)
def test_what_the_user_can_mend_is_a_sentence_and_a_code(
    error: type[Exception], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_info, one_sentence(False):
        raise error("what is wrong")
    assert exit_info.value.exit_code == code
    assert capsys.readouterr().err == "raysearch: what is wrong\n"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ((), "ended at once, without a report; raysearch resume goes on with a run that has begun"),
        (("ended before the run began",), "ended before the run began"),
    ],
)
def test_an_interrupt_says_what_there_is_to_go_on_with(
    said: tuple[str, ...], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_info, one_sentence(False):
        raise KeyboardInterrupt(*said)
    assert exit_info.value.exit_code == 130
    assert capsys.readouterr().err == f"raysearch: {shown}\n"


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, ImportError, RuntimeError, KeyError])
def test_a_fault_of_the_program_keeps_its_traceback(
    error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error), one_sentence(False):
        raise error("a bug")
    with pytest.raises(typer.Exit) as exit_info, one_sentence(True):
        raise error("a bug")
    assert exit_info.value.exit_code == 1
    document = json.loads(capsys.readouterr().out)
    assert document["error"].startswith(error.__name__)
    assert 'raise error("a bug")' in document["traceback"]


def test_an_exit_is_no_failure() -> None:
    with pytest.raises(typer.Exit) as exit_info, one_sentence(True):
        raise typer.Exit(130)
    assert exit_info.value.exit_code == 130


def test_brackets_in_a_table_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "[mb]"], [["[red]stage1", "1.5"]])
    assert "[red]stage1" in capsys.readouterr().out
