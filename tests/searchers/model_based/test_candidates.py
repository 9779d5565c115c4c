"""Candidates stand on legal cells; children are their parents but for a few parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.model_based.candidates import Candidates
from raysearch.searchers.model_based.representation import Representation

PARAMETERS = (
    Parameter(("c",), "categorical", choices=("a", "b", "c", "d")),
    Parameter(("n",), "integer", 1, 5),
    *(Parameter((f"x{i}",), "float", 0.0, 1.0) for i in range(6)),
)
REPRESENTATION = Representation(Encoding(PARAMETERS))
CANDIDATES = Candidates(Encoding(PARAMETERS), REPRESENTATION)
WIDTH = len(PARAMETERS)


def parents(seed: int, count: int = 4) -> np.ndarray:
    return CANDIDATES.random(count, np.random.default_rng(seed))


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_all_stand_on_legal_cells(seed: int) -> None:
    rng, own = np.random.default_rng(seed), parents(seed)
    active = np.ones(own.shape, dtype=bool)
    for found in (CANDIDATES.random(50, rng), CANDIDATES.bred(own, active, 50, rng)):
        assert found.shape == (50, WIDTH)
        assert ((found >= 0) & (found <= 1)).all()
        np.testing.assert_array_equal(found, REPRESENTATION.snapped(found))


def test_random_ones_are_spread_over_every_cell() -> None:
    found = CANDIDATES.random(4000, np.random.default_rng(0))
    counts = np.unique(found[:, 0], return_counts=True)[1]
    assert len(counts) == 4
    assert counts.min() > 850
    assert np.abs(found[:, 2:].mean(axis=0) - 0.5).max() < 0.02


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_a_child_of_one_parent_differs_from_it_in_one_to_three_parameters(seed: int) -> None:
    own = parents(seed, 1)
    found = CANDIDATES.bred(own, np.ones((1, WIDTH), dtype=bool), 200, np.random.default_rng(seed))
    changed = (found != own).sum(axis=1)
    assert changed.max() <= 3
    assert {1, 2, 3} <= set(changed.tolist())


def test_what_is_neither_changed_nor_mixed_is_one_of_the_parents() -> None:
    own = parents(1, 2)
    found = CANDIDATES.bred(own, np.ones(own.shape, dtype=bool), 500, np.random.default_rng(1))
    foreign = (found[:, None] != own[None]).all(axis=1).sum(axis=1)
    assert foreign.max() <= 3
    both = [(found[:, None] == own[None]).any(axis=2).all(axis=1).mean()]
    assert both[0] > 0.2  # some have values of each


def test_what_does_not_matter_in_a_parent_is_drawn_anew_and_not_chosen_to_change() -> None:
    numbers = Encoding(PARAMETERS[2:])  # whose steps never end in the same place
    made, active = Candidates(numbers, Representation(numbers)), np.ones((1, 6), dtype=bool)
    active[0, 0] = False
    own = made.random(1, np.random.default_rng(2))
    found = made.bred(own, active, 500, np.random.default_rng(2))
    assert len(np.unique(found[:, 0])) > 450  # drawn, not inherited
    others = (found != own)[:, 1:].sum(axis=1)
    assert others.min() >= 1  # a change is spent on what matters


def test_a_changed_category_is_another_one() -> None:
    one = Encoding(PARAMETERS[:1])
    representation = Representation(one)
    made = Candidates(one, representation)
    own = representation.snapped(np.array([[0.1]]))
    found = made.bred(own, np.ones((1, 1), dtype=bool), 300, np.random.default_rng(3))
    counts = {float(cell): int((found == cell).sum()) for cell in np.unique(found)}
    assert float(own[0, 0]) not in counts
    assert len(counts) == 3
    assert min(counts.values()) > 60


@pytest.mark.parametrize("seed", range(3))
def test_the_same_generator_gives_the_same_children(seed: int) -> None:
    own = parents(seed)
    active = np.ones(own.shape, dtype=bool)
    first, again = (CANDIDATES.bred(own, active, 20, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_most_random_points_lie_around_good_ones_where_there_are_any() -> None:
    good = REPRESENTATION.snapped(np.random.default_rng(5).random((2, WIDTH)))
    made = Candidates(Encoding(PARAMETERS), REPRESENTATION, good)
    found = made.random(400, np.random.default_rng(6))
    differ = (np.abs(found[:, None] - good[None]) > 1e-9).sum(axis=2).min(axis=1)
    assert 0.5 < (differ <= WIDTH // 2).mean() < 0.9
    assert (differ == WIDTH).mean() > 0.1  # and some anywhere
    assert np.array_equal(found, REPRESENTATION.snapped(found))
