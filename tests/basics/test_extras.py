import pytest

from raysearch.basics import extras


def test_what_is_installed_is_loaded():
    assert extras.load("json.decoder", "none").JSONDecoder


def test_what_is_absent_names_the_command():
    with pytest.raises(
        ImportError, match=r'no_such_package is not installed: run `pip install "raysearch\[cma\]"`'
    ):
        extras.load("no_such_package.deeper", "cma")
