from __future__ import annotations

import numpy as np
import pytest
import typer

from raysearch.cli.output import one_sentence, plain, print_table


def test_json_knows_no_nan_and_no_numpy() -> None:
    assert plain({1: np.float64(2), "x": [float("nan"), np.inf, np.bool_(True)]}) == {
        "1": 2.0,
        "x": [None, None, True],
    }


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError, 2), (FileNotFoundError, 2), (ImportError, 2), (RuntimeError, 1)]
)
def test_an_error_is_its_sentence_and_a_code(
    error: type[Exception], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_info, one_sentence(False):
        raise error("what is wrong")
    assert exit_info.value.exit_code == code
    assert capsys.readouterr().err == "raysearch: what is wrong\n"


def test_brackets_in_a_table_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "[mb]"], [["[red]stage1", "1.5"]])
    assert "[red]stage1" in capsys.readouterr().out
