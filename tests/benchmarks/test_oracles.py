from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.oracles import Oracle
from raysearch.schedulers.base import Decision

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP
# Three on the front, whose box is [0, 1] x [0, 1]; one that adds .01 to it; one that is dominated.
POOL = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.49, 0.6], [2.0, 2.0]])


@pytest.mark.parametrize("after", [1, 2])
def test_it_decides_once_from_the_final_costs_alone(after):
    oracle = Oracle(POOL, after)
    values = {"row": 4, "error": -9.0}  # what is reported besides the row is not read
    assert [oracle.decide("a", step, values) is STOP for step in (1, 2, 3)] == [s == after for s in (1, 2, 3)]


def test_it_keeps_what_adds_more_than_its_worth_to_those_kept():
    oracle = Oracle(POOL, 1)
    decisions = [oracle.decide(str(row), 1, {"row": row}) for row in (1, 0, 3, 2, 1)]
    assert decisions == [CONTINUE, CONTINUE, STOP, CONTINUE, STOP]


def test_its_scale_is_the_true_front():
    scaled = Oracle(1000 * POOL - 7, 1)
    assert [scaled.decide(str(row), 1, {"row": row}) for row in (1, 0, 3)] == [CONTINUE, CONTINUE, STOP]


def test_it_goes_on_from_its_state():
    one, two = Oracle(POOL, 1), Oracle(POOL, 1)
    one.decide("a", 1, {"row": 1})
    two.load(json.loads(json.dumps(one.state())))
    assert two.decide("b", 1, {"row": 1}) is STOP
    empty = Oracle(POOL, 1)
    empty.load(json.loads(json.dumps(Oracle(POOL, 1).state())))
    assert empty.decide("b", 1, {"row": 1}) is CONTINUE
