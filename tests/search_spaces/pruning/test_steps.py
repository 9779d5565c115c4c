from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.search.sample import Domain

from raysearch import search_spaces as spaces
from raysearch.search_spaces.pruning.channel_pruning import decode_pruning, encode_pruning
from raysearch.search_spaces.pruning.steps import share_at, steps_by, steps_domain
from raysearch.search_spaces.pruning.weight_sparsity import decode_sparsity, encode_sparsity


def test_shares_follow_a_cubic():
    assert [round(share_at(k, 4), 4) for k in range(1, 5)] == [0.5781, 0.875, 0.9844, 1.0]
    assert share_at(1, 1) == 1


@given(st.integers(1, 30), st.data())
def test_steps_are_taken_one_after_another_and_all_of_them(epochs, data):
    steps = data.draw(st.integers(1, epochs))
    taken = [steps_by(epoch, epochs, steps) for epoch in range(1, epochs + 1)]
    assert taken[0] == 1
    assert taken[-1] == steps
    assert all(0 <= later - one <= 1 for one, later in pairwise(taken))


def test_most_of_the_epochs_are_left_to_what_is_left():
    assert [steps_by(epoch, 9, 3) for epoch in range(1, 10)] == [1, 1, 2, 2, 3, 3, 3, 3, 3]


def test_one_step_is_not_said_and_several_are_searched():
    assert steps_domain(1) == {}
    assert steps_domain(3) == {"steps": 3}
    assert isinstance(steps_domain((1, 4))["steps"], Domain)
    widths = {"stem": 16}
    once = decode_pruning({"ratios": {"stem": 0.5}}, widths)
    assert "steps" not in encode_pruning(once)
    several = decode_pruning({"ratios": {"stem": 0.5}, "steps": 3}, widths)
    assert encode_pruning(several)["steps"] == 3
    assert decode_pruning(encode_pruning(several), widths) == several
    sparse = decode_sparsity({"pattern": "unstructured", "ratios": {"stem": 0.5}, "steps": 2}, ("stem",))
    assert decode_sparsity(encode_sparsity(sparse), ("stem",)) == sparse
    assert decode_sparsity({"pattern": "2:4", "steps": 2}, ("stem",)).steps == 1, "at once"


def test_the_design_prunes_at_once():
    space = spaces.bind({"architecture": spaces.resnet(), "pruning": spaces.channel_pruning(steps=(1, 3))})
    assert [c["pruning"]["steps"] for c in space.design(space.settled({}))] == [1, 1, 1]


@pytest.mark.parametrize("steps", [0, 1.5, "two"])
def test_bad_steps(steps):
    with pytest.raises(ValueError, match="pruning/steps is"):
        decode_pruning({"ratios": {"stem": 0.5}, "steps": steps}, {"stem": 16})
