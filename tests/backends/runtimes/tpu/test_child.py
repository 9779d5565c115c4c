"""A module in a process of its own answers, refuses, and is ended when its time is over."""

import gc
import os
import time

import pytest

from raysearch.backends.base import MeasurementError
from raysearch.backends.runtimes.tpu.child import Child


@pytest.fixture(scope="module")
def child():
    return Child("answering_child", {"PLACE": "there"})


def test_it_answers_one_request_after_another_whatever_it_prints(child):
    assert [child.ask("double", 30, number=n) for n in (1, 2, 21)] == [2, 4, 42]


def test_it_has_an_environment_of_its_own(child):
    assert child.ask("variable", 30, name="PLACE") == "there"
    assert "PLACE" not in os.environ


def test_what_it_refuses_is_said_and_it_goes_on(child):
    with pytest.raises(MeasurementError, match=r"^cannot run net\.pt2: it is too large$"):
        child.ask("refuse", 30)
    with pytest.raises(MeasurementError, match="KeyError: 'weights'"):
        child.ask("break_down", 30)
    assert child.ask("double", 30, number=4) == 8


def test_it_is_ended_when_its_time_is_over():
    slow = Child("answering_child", {})
    slow.ask("double", 30, number=1)
    start = time.monotonic()
    with pytest.raises(MeasurementError, match=r"cannot wait the model: its process took longer than 0\.3 s"):
        slow.ask("wait", 0.3, seconds=60)
    assert time.monotonic() - start < 10


def test_its_last_words_are_told():
    with pytest.raises(MeasurementError, match="its process ended: the device is locked"):
        Child("answering_child", {}).ask("die", 30)


def test_a_module_that_cannot_start_is_told():
    with pytest.raises(MeasurementError, match=r"its process ended: .*No module named not_there"):
        Child("not_there", {}).ask("double", 30, number=1)


def test_it_goes_with_who_started_it():
    child = Child("answering_child", {})
    child.ask("double", 30, number=1)
    process = child._process
    del child
    gc.collect()
    assert process.poll() is not None
