import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

from raysearch.search_spaces import domains

DOMAINS = [
    tune.uniform(-1, 3),
    tune.quniform(0, 0.8, 0.05),
    tune.loguniform(1e-4, 1e-2),
    tune.randint(1, 4),
    tune.qrandint(8, 64, 8),
    tune.lograndint(1, 100),
    tune.choice([2, 4, 8, 32]),
    tune.choice(["a", "b"]),
    tune.choice([False, True]),
]


@given(st.sampled_from(DOMAINS), st.integers(0, 2**31))
def test_samples_ends_and_the_middle_are_legal(domain, seed):
    value = domain.sample(random_state=np.random.default_rng(seed))
    assert domains.contains(domain, value)
    for legal in (domains.middle(domain), *domains.ends(domain)):
        assert domains.contains(domain, legal)


@given(st.sampled_from(DOMAINS[:6]), st.floats(-1e3, 1e3))
def test_the_nearest_value_of_a_range_is_legal_and_nearest(domain, value):
    near = domains.nearest(domain, value)
    low, high = domains.ends(domain)
    assert domains.contains(domain, near)
    assert low <= near <= high
    assert abs(near - value) <= min(abs(low - value), abs(high - value)) + 1e-9


def test_the_nearest_choice():
    bits = tune.choice([2, 4, 32])
    assert [domains.nearest(bits, b) for b in (8, 20, 3)] == [4, 32, 2]
    assert domains.nearest(tune.choice(["a", "b"]), "c") == "a"
    assert domains.nearest(tune.choice([False, True]), True) is True
    assert not domains.contains(tune.choice(["a", "b"]), "c")


def test_middles():
    assert domains.middle(tune.loguniform(1e-4, 1e-2)) == pytest.approx(1e-3)
    assert domains.middle(tune.qrandint(8, 64, 8)) in (32, 40)
    assert domains.middle(tune.randint(1, 4)) == 2


def test_walking_a_space():
    space = {"a": {"b": tune.uniform(0, 1), "c": 3}, "d": 4}
    assert dict(domains.leaves(space))[("a", "c")] == 3
    assert list(domains.searched(space)) == [("a", "b")]
    assert domains.constants(space) == {"a": {"c": 3}, "d": 4}
    assert domains.nested({("a", "b"): 1, ("a", "c"): 2, ("d",): 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: domains.integers("depth", (3, 3)), "depth=\\(3, 3\\): low must be below high"),
        (lambda: domains.integers("depth", (0, 3)), "must be at least 1"),
        (lambda: domains.integers("depth", 1.5), "neither an int nor a pair"),
        (lambda: domains.integers("width", (8, 20), 8), "multiples of the step 8"),
        (lambda: domains.floats("weight", (0.9, 0.1)), "weight=\\(0.9, 0.1\\): low must be below high"),
        (lambda: domains.one_of("kernel", (3, 4), (1, 3, 5)), "kernel=\\(3, 4\\) must name each value once"),
        (lambda: domains.one_of("kernel", (), (1, 3, 5)), "must name each value once"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
