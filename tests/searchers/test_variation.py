from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.variation import Variation

ENCODING = Encoding(
    [
        Parameter(("f",), "float", 0.0, 1.0),
        Parameter(("i",), "integer", 1, 8),
        Parameter(("c",), "categorical", choices=("x", "y", "z")),
        Parameter(("one",), "categorical", choices=("only",)),
    ]
)
VARIATION = Variation(ENCODING)
POINTS = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(np.array)


@settings(deadline=None)
@given(POINTS, POINTS, st.integers(0, 1000))
def test_a_child_lies_in_the_cube_and_takes_its_categories_from_its_parents(a, b, seed):
    child = VARIATION.crossed(np.array([a, b]), np.random.default_rng(seed))
    assert ((child >= 0) & (child <= 1)).all()
    assert child[2] in (a[2], b[2])


@settings(deadline=None)
@given(POINTS, st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 1000))
def test_mutation_touches_active_parameters_only(vector, active, seed):
    before = vector.copy()
    child = VARIATION.mutated(vector, np.array(active), np.random.default_rng(seed))
    assert (vector == before).all()
    assert ((child >= 0) & (child <= 1)).all()
    if any(active):
        assert not (child != vector)[~np.array(active)].any()


def test_a_chosen_category_changes():
    only = np.array([False, False, True, False])
    vector = np.full(4, 0.5)
    children = [VARIATION.mutated(vector, only, np.random.default_rng(seed)) for seed in range(30)]
    assert {ENCODING.decode(child)["c"] for child in children} == {"x", "z"}


def test_mutation_moves_a_coarse_grid():
    only = np.array([False, True, False, False])
    vector = ENCODING.encode({"f": 0.5, "i": 4, "c": "x", "one": "only"})
    children = [VARIATION.mutated(vector, only, np.random.default_rng(seed)) for seed in range(60)]
    assert len({ENCODING.decode(child)["i"] for child in children}) >= 4
