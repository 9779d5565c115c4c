"""The demands that contracts are made of."""

from __future__ import annotations

import math

import pytest

from raysearch.testing.demands import demand, same, through_json


def test_a_state_that_json_keeps_is_given_back() -> None:
    assert through_json({"a": [1, 2.5, None]}) == {"a": [1, 2.5, None]}
    assert math.isnan(through_json({"a": math.nan})["a"])  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [{"a": (1, 2)}, {1: 2}, {"a": {1, 2}}, [1]])
def test_a_state_that_json_changes_or_refuses_breaks_the_contract(state: object) -> None:
    with pytest.raises(AssertionError, match=r"^state must be"):
        through_json(state)


def test_nan_is_itself_and_a_tuple_is_no_list() -> None:
    assert same([math.nan], [math.nan])
    assert not same((1,), [1])
    assert not same(1, True)


def test_a_demand_says_what_was_asked_for() -> None:
    demand(True, "kept")
    with pytest.raises(AssertionError, match=r"^steps rise$"):
        demand(False, "steps rise")
