from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.model_based.candidates import Candidates
from raysearch.searchers.model_based.representation import Representation

PARAMETERS = (
    *(Parameter((f"c{i}",), "categorical", choices=("a", "b", "c")) for i in range(3)),
    Parameter(("lr",), "float", 1e-4, 1.0, log=True),
    Parameter(("n",), "integer", 1, 5),
    Parameter(("m",), "integer", 1, 64, log=True),
)
ENCODING = Encoding(PARAMETERS)
REPRESENTATION = Representation(ENCODING)


def features(vector, active=None):
    active = np.ones(6, dtype=bool) if active is None else np.array(active)
    return REPRESENTATION(np.array([vector]), active[None])[0]


def test_categories_of_one_domain_are_summed_up_besides():
    vector = ENCODING.encode({"c0": "a", "c1": "a", "c2": "b", "lr": 0.01, "n": 2, "m": 3})
    found = features(vector)
    assert found[-3:] == pytest.approx([2 / 3, 1 / 3, 0])
    assert len(found) == 3 * 3 + 3 + 3


def test_a_weight_is_of_a_parameter_and_of_a_choice_that_several_share():
    kinds = [[REPRESENTATION.parts[j] for j in np.flatnonzero(row)] for row in REPRESENTATION.loading]
    assert kinds == [["category", "choice"]] * 9 + [["number"]] * 3 + [["sum"]] * 3
    assert (REPRESENTATION.loading[0] * REPRESENTATION.loading[3]).sum() == 1
    assert REPRESENTATION.summed.tolist() == [False] * 12 + [True] * 3


def test_what_is_inactive_makes_no_difference():
    active = [True, False, True, False, True, True]
    one, other = np.full(6, 0.2), np.array([0.2, 0.9, 0.2, 0.9, 0.2, 0.2])
    assert features(one, active) == pytest.approx(features(other, active))
    assert features(one) != pytest.approx(features(other))


@given(st.integers(0, 2**32 - 1))
def test_snapping_changes_only_by_rounding_to_a_legal_value(seed):
    points = np.random.default_rng(seed).random((1, 6))
    snapped = REPRESENTATION.snapped(points)[0]
    assert ENCODING.encode(ENCODING.decode(snapped)) == pytest.approx(snapped)


def test_children_differ_from_a_parent_in_what_is_active_and_have_the_rest_drawn_anew():
    rng = np.random.default_rng(0)
    candidates = Candidates(ENCODING, REPRESENTATION)
    parents = REPRESENTATION.snapped(rng.random((1, 6)))
    active = np.array([[True, True, True, False, False, False]])
    children = candidates.bred(parents, active, 200, rng)
    changed = np.abs(children - parents) > 1e-9
    assert changed[:, :3].sum(axis=1).min() >= 1
    assert changed[:, :3].sum(axis=1).max() <= 3
    assert changed[:, 3:].any(axis=0).all()
