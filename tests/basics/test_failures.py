from __future__ import annotations

import pytest

from raysearch.basics.failures import UserError, attempt, failure, first_line


@pytest.mark.parametrize(
    ("error", "text"),
    [(ValueError("one\ntwo"), "one"), (KeyError(), "KeyError"), (RuntimeError("\n  late\n"), "late")],
)
def test_first_line(error: Exception, text: str) -> None:
    assert first_line(error) == text


def test_a_failure_says_what_and_where() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    assert failure(caught.value).startswith("ZeroDivisionError: ")
    assert "(test_failures.py, line " in failure(caught.value)
    assert failure(ValueError("never raised\nsecond line")) == "ValueError: never raised"
    assert failure(AssertionError()) == "AssertionError"


def test_a_user_s_own_work_is_attempted() -> None:
    assert attempt(lambda: 3, "counting") == 3
    with pytest.raises(UserError, match=r"counting fails: KeyError: 'three' \(test_failures.py, line \d+\)"):
        attempt(lambda: {}["three"], "counting")
    with pytest.raises(UserError, match=r"^told already$"):
        attempt(lambda: (_ for _ in ()).throw(UserError("told already")), "counting")


def test_of_a_task_s_error_the_one_of_its_worker_is_told() -> None:
    class TaskError(RuntimeError):
        cause = ValueError("no such layer")

    assert failure(TaskError("ray::parent() (pid=7)")) == "ValueError: no such layer"
    other = RuntimeError("bad")
    other.cause = "a text"  # type: ignore[attr-defined]
    assert failure(other) == "RuntimeError: bad"
