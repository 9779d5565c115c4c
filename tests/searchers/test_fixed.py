from __future__ import annotations

from raysearch.searchers.fixed import FixedList


def test_configs_come_in_order_and_then_none() -> None:
    searcher = FixedList([{"x": 1}, {"x": 2}])
    assert [searcher.ask(name) for name in "abc"] == [{"x": 1}, {"x": 2}, None]


def test_a_given_config_takes_the_place_of_one() -> None:
    searcher = FixedList([{"x": 1}, {"x": 2}])
    assert searcher.ask("a", {"x": 9}) == {"x": 9}
    assert searcher.ask("b") == {"x": 2}


def test_a_state_goes_on() -> None:
    searcher, again = FixedList([{"x": 1}, {"x": 2}]), FixedList([{"x": 1}, {"x": 2}])
    searcher.ask("a")
    again.load(searcher.state())
    assert again.ask("b") == {"x": 2}
