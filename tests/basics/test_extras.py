import pickle

import pytest

from raysearch.basics import extras
from raysearch.basics.failures import UserError


def test_what_is_installed_is_loaded():
    assert extras.load("json.decoder", "none").JSONDecoder


def test_what_is_absent_names_the_command():
    with pytest.raises(
        ImportError, match=r'no_such_package is not installed: run `pip install "raysearch\[cma\]"`'
    ):
        extras.load("no_such_package.deeper", "cma")


def test_an_absent_extra_is_the_users_to_mend_wherever_it_is_told():
    with pytest.raises(UserError) as caught:
        extras.load("no_such_package", "cma")
    again = pickle.loads(pickle.dumps(caught.value))  # as from a worker
    assert isinstance(again, ImportError)
    assert (str(again), again.name) == (str(caught.value), "no_such_package")
