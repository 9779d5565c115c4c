from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raysearch.basics.failures import UserError
from raysearch.study_file.yaml_text import import_object, parse_yaml


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_problem_of_digits", raising=False)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "my_problem_of_digits.py").write_text("def make(n): return n")
    return tmp_path / "beside"


def test_a_module_is_found_in_its_folder_and_in_the_working_directory(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert import_object("my_problem_of_digits:make", module)(3) == 3
    monkeypatch.delitem(sys.modules, "my_problem_of_digits")
    sys.path.remove(str(module))
    monkeypatch.chdir(module)
    assert import_object("my_problem_of_digits:make")(3) == 3


def test_what_cannot_be_imported_is_one_sentence(module: Path) -> None:
    for where, message in {
        "my_problem_of_digits:mak": "did you mean 'make'",
        "my_problem:make": f"No module named 'my_problem'; looked in {module} and",
        "my_problem_of_digits": 'give "module:function"',
    }.items():
        with pytest.raises(UserError, match=message):
            import_object(where, module)
    (module / "breaks_at_once.py").write_text("1 / 0")
    with pytest.raises(UserError, match=r"ZeroDivisionError: division by zero \(breaks_at_once.py, line 1\)"):
        import_object("breaks_at_once:make", module)


def test_another_module_of_the_same_name_is_not_taken_for_it(module: Path, tmp_path: Path) -> None:
    import_object("my_problem_of_digits:make", module)
    (tmp_path / "my_problem_of_digits.py").write_text("def make(n): return -n")
    with pytest.raises(UserError, match=f"but {module}.*is imported already"):
        import_object("my_problem_of_digits:make", tmp_path)


def test_keys_are_what_is_written() -> None:
    document = parse_yaml("{0: a, 0.10: b, 1e3: c, on: d, null: e, 2020-01-01: f}", "study.yaml")
    assert document == {"0": "a", "0.10": "b", "1e3": "c", "on": "d", "null": "e", "2020-01-01": "f"}
    assert parse_yaml("{a: &x {1: 2}, b: {<<: *x, 3: 4}}", "study.yaml")["b"] == {"1": 2, "3": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n[b]: 2", "line 2 has a list or a mapping as a key: give a text"),
        ("{{a: b}: 2}", "line 1 has a list or a mapping as a key"),
        ("? [a, b]\n: 1", "line 1 has a list or a mapping as a key"),
        ("{0: a, '0': b}", "line 1 repeats the key '0'"),
        ("a: !!set {b}", "is a set: give a text, a number, a list or a mapping"),
        ("a: [!!binary aGVsbG8=]", "is a bytes"),
        ("a: &a [*a]", "is nested too deeply, or holds itself by an alias"),
        ("a: !!python/name:os.system", "is not YAML"),
    ],
)
def test_what_is_no_plain_data_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_yaml(text, "study.yaml")
    assert "\n" not in str(caught.value)


def test_a_date_is_a_text() -> None:
    assert parse_yaml("folder: 2020-01-01", "study.yaml") == {"folder": "2020-01-01"}
