from __future__ import annotations

from typing import Any

import pytest

from raysearch.methods import Method, check_choice, make, name_of
from raysearch.objectives import Goals
from raysearch.schedulers import SCHEDULERS, make_scheduler
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.searchers import SEARCHERS

METHODS = {"halving": Method("raysearch.schedulers.successive_halving:SuccessiveHalving", "", {"grace": 2})}
GOALS = Goals.parse(["maximize accuracy"])


def test_a_name_and_a_mapping_are_the_same_choice() -> None:
    assert check_choice("scheduler", "halving", METHODS) == {"name": "halving"}
    choice = check_choice("scheduler", {"name": "halving", "eta": 4}, METHODS)
    assert choice == {"name": "halving", "eta": 4}
    assert name_of(choice) == name_of("halving") == "halving"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("halvin", "scheduler is 'halvin'; did you mean 'halving'"),
        ({"eta": 3}, "give a name, or {name: ..., option: value}"),
        ({"name": "halving", "etaa": 3}, "scheduler halving has no option 'etaa'; did you mean 'eta'"),
        ({"name": "halving", "goals": 3}, "has no option 'goals'"),
        ({"name": "halving", "eta": "many"}, "scheduler halving: eta is 'many': it should be a valid number"),
    ],
)
def test_a_wrong_choice_is_one_sentence(given: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_choice("scheduler", given, METHODS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_and_what_the_name_fixes_reach_the_method() -> None:
    made = make({"name": "halving", "eta": 2}, METHODS, goals=GOALS, max_step=9, seed=7)
    assert isinstance(made, SuccessiveHalving)
    for trial, accuracy in (("best", 0.9), ("bad", 0.1)):
        decisions = [made.decide(trial, step, {"accuracy": accuracy}).value for step in (1, 2)]
        assert decisions == ["continue", "stop" if trial == "bad" else "continue"], "grace 2, the best half"


@pytest.mark.parametrize("method", [*SEARCHERS.values(), *SCHEDULERS.values()], ids=lambda m: m.place)
def test_what_can_be_named_exists_and_says_what_it_is(method: Method) -> None:
    assert isinstance(method.load(), type)
    assert method.summary
    assert set(method.fixed) <= set(method.options()) | set(method.fixed)


def test_every_scheduler_stops_what_breaks_a_static_constraint() -> None:
    goals = Goals.parse(["maximize accuracy"], ["latency_ms/cpu <= 1"], last_step=10)
    for name in SCHEDULERS:
        scheduler = make_scheduler(name, goals, max_step=9)
        assert scheduler.decide("slow", 0, {"latency_ms/cpu": 2.0}).value == "stop", name
