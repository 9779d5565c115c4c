from __future__ import annotations

import pytest

from raysearch.search_spaces import arguments
from raysearch.search_spaces.domains import read


def test_one_value_is_a_constant_and_several_are_searched():
    assert arguments.integers("depth", 3) == 3
    assert arguments.floats("weight", 0.5) == 0.5
    assert arguments.one_of("kernel", (3,), (1, 3, 5)) == 3
    space = {
        "depth": arguments.integers("depth", (1, 3)),
        "width": arguments.integers("width", (8, 64), 8),
        "weight": arguments.floats("weight", (0.1, 0.9)),
        "kernel": arguments.one_of("kernel", (5, 3), (1, 3, 5)),
    }
    assert {path[0]: values.ends() for path, values in read(space).items()} == {
        "depth": [1, 3],
        "width": [8, 64],
        "weight": [0.1, 0.9],
        "kernel": [5, 3],
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: arguments.integers("depth", (3, 3)), "depth=\\(3, 3\\): low must be below high"),
        (lambda: arguments.integers("depth", (0, 3)), "must be at least 1"),
        (lambda: arguments.integers("depth", 1.5), "neither an int nor a pair"),
        (lambda: arguments.integers("width", (8, 20), 8), "multiples of the step 8"),
        (lambda: arguments.floats("weight", (0.9, 0.1)), "weight=\\(0.9, 0.1\\): low must be below high"),
        (
            lambda: arguments.one_of("kernel", (3, 4), (1, 3, 5)),
            "must name each value once, from 1, 3, 5",
        ),
        (lambda: arguments.one_of("kernel", (), (1, 3, 5)), "must name each value once"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
