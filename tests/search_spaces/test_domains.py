"""What is read of a domain is what Tune's own sampler draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune
from ray.tune.search.sample import Categorical

from raysearch.search_spaces import domains
from raysearch.search_spaces.domains import Choices, Numbers
from raysearch.searchers.encoding import Encoding
from raysearch.searchers.tune import parameters_of

DISCRETE = {
    "choice": tune.choice(["a", 1, True, (3, 4)]),
    "one choice": tune.choice([7]),
    "randint": tune.randint(1, 8),
    "one integer": tune.randint(4, 5),
    "negative randint": tune.randint(-3, 2),
    "lograndint": tune.lograndint(1, 9),
    "qrandint by 1": tune.qrandint(1, 8, 1),
    "qrandint by 2": tune.qrandint(2, 8, 2),
    "qrandint off the grid": tune.qrandint(3, 20, 8),
    "negative qrandint": tune.qrandint(-9, 5, 3),
    "qlograndint by 1": tune.qlograndint(2, 9, 1),
    "qlograndint by 3": tune.qlograndint(1, 13, 3),
    "quniform": tune.quniform(0, 0.8, 0.05),
    "quniform by 1": tune.quniform(-2, 2, 1),
    "qloguniform": tune.qloguniform(0.1, 0.9, 0.1),
}
CONTINUOUS = {
    "uniform": tune.uniform(-1, 3),
    "loguniform": tune.loguniform(1e-4, 1e-2),
}


def read(domain):
    return domains.read({"x": domain})["x",]


def support(values):
    """All that a discrete domain may draw, as it is read."""
    if isinstance(values, Choices):
        return list(values.values)
    count = round((values.high - values.low) / values.step) + 1
    return [values.nearest(values.low + i * values.step) for i in range(count)]


def distinct(drawn):
    """Different values, floats to nine digits, with their types."""
    return {(type(v).__name__, round(v, 9) if isinstance(v, float) else v) for v in drawn}


@pytest.mark.parametrize("name", DISCRETE)
def test_the_values_are_all_that_tune_draws_and_no_others(name):
    random = np.random.default_rng(0)
    drawn = [DISCRETE[name].sample(random_state=random) for _ in range(4_000)]
    assert distinct(drawn) == distinct(support(read(DISCRETE[name])))


@pytest.mark.parametrize("name", DISCRETE)
def test_a_searcher_sees_the_same_values(name):
    encoding = Encoding(parameters_of({"x": DISCRETE[name]}))
    cells = [encoding.decode(encoding.cell(i))["x"] for i in range(int(encoding.cells))]
    assert distinct(cells) == distinct(support(read(DISCRETE[name])))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_range_is_filled_by_what_tune_draws(name):
    random, values = np.random.default_rng(0), read(CONTINUOUS[name])
    drawn = np.array([CONTINUOUS[name].sample(random_state=random) for _ in range(4_000)])
    low, high = values.ends()
    at = np.log(drawn / low) / math.log(high / low) if values.log else (drawn - low) / (high - low)
    assert 0 <= at.min() < 0.01
    assert 0.99 < at.max() <= 1
    assert abs(np.median(at) - 0.5) < 0.03, "even over the range, or over its logarithm"


@given(st.sampled_from([*DISCRETE.values(), *CONTINUOUS.values()]), st.integers(0, 2**31))
def test_samples_ends_and_the_middle_are_legal(domain, seed):
    values = read(domain)
    drawn = domain.sample(random_state=np.random.default_rng(seed))
    assert all(domains.contains(values, legal) for legal in (drawn, values.middle(), *values.ends()))


READ = [read(domain) for domain in (*DISCRETE.values(), *CONTINUOUS.values())]
NUMBERS = [values for values in READ if isinstance(values, Numbers)]


@given(st.sampled_from(NUMBERS), st.floats(-1e3, 1e3))
def test_the_nearest_value_of_a_range_is_legal_and_nearest(values, value):
    near = values.nearest(value)
    low, high = values.ends()
    assert domains.contains(values, near)
    assert low <= near <= high
    assert abs(near - value) <= min(abs(low - value), abs(high - value)) + 1e-9


def test_the_nearest_choice():
    bits = Choices((2, 4, 32))
    assert [bits.nearest(b) for b in (8, 20, 3)] == [4, 32, 2]
    assert Choices(("a", "b")).nearest("c") == "a"
    assert Choices((False, True)).nearest(True) is True
    assert not domains.contains(Choices(("a", "b")), "c")


def test_middles():
    assert read(tune.loguniform(1e-4, 1e-2)).middle() == pytest.approx(1e-3)
    assert read(tune.qrandint(8, 64, 8)).middle() in (32, 40)
    assert read(tune.randint(1, 4)).middle() == 2


def test_walking_a_space():
    space = {"a": {"b": tune.uniform(0, 1), "c": [3]}, "d": 4}
    assert list(domains.read(space)) == [("a", "b")]
    assert domains.constants(space) == {"a": {"c": [3]}, "d": 4}
    assert domains.nested({("a", "b"): 1, ("a", "c"): 2, ("d",): 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (tune.grid_search([1, 2]), "a/b is a grid or a function"),
        (Categorical([1, 2]).grid(), "a/b is a grid or a function"),
        (tune.sample_from(lambda spec: 1), "a/b is a grid or a function"),
        (tune.randn(0, 1), "a/b has no bounds"),
        (tune.qrandn(0, 1, 0.5), "a/b has no bounds"),
        (tune.uniform(2, 1), "a/b goes from 2 to 1"),
        (tune.randint(3, 3), "a/b goes from 3 to 3"),
        (tune.randint(0.5, 3), "a/b draws integers from 0.5 to 3 by 1: all three must be whole"),
        (tune.qrandint(1, 9, 1.5), "a/b draws integers from 1 to 9 by 1.5: all three must be whole"),
        (tune.quniform(1, 0, 0.1), "a/b goes from 1 to 0"),
        (tune.qrandint(1, 8, -1), "a/b is quantised by -1: q must be above 0"),
        (tune.qrandint(9, 15, 8), "a/b has no multiple of 8 from 9 to 15"),
        (tune.choice([]), "a/b is a choice among nothing"),
        (tune.choice([1, tune.uniform(0, 1)]), "a/b is a choice that holds a domain"),
        (tune.choice([{"c": tune.randint(0, 2)}]), "a/b is a choice that holds a domain"),
        ([tune.uniform(0, 1)], "a/b/0 is a domain inside a list"),
        ({3: tune.uniform(0, 1)}, "a/b/3 is a domain inside a list or under a key that is no string"),
    ],
)
def test_what_cannot_be_searched_is_refused(domain, message):
    with pytest.raises(ValueError, match=message):
        domains.read({"a": {"b": domain}, "c": tune.uniform(0, 1)})
