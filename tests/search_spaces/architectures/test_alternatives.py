from __future__ import annotations

import pytest
from ray import tune

from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures.alternatives import as_opened, opened, resolved

BLOCK = {"block": tune.choice([{"kind": "conv", "kernel": tune.choice([3, 5])}, {"kind": "pool"}])}


def test_a_choice_among_mappings_becomes_one_among_names():
    space = opened(BLOCK)
    assert domains.read(space) == {
        ("block", "one_of"): domains.Choices(("conv", "pool")),
        ("block", "conv", "kernel"): domains.Choices((3, 5)),
    }
    assert domains.constants(space) == {"block": {"conv": {"kind": "conv"}, "pool": {"kind": "pool"}}}
    again = opened(space)
    assert domains.read(again) == domains.read(space)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([{"kernel": 3}, None], ("0", "1")),
        ([{"kind": "a"}, "none"], ("a", "none")),
        ([{"kind": "a"}, {"kind": "a", "kernel": 3}], ("0", "1")),
        ([{"kind": "a/b"}, {"kind": "c"}], ("0", "1")),
        ([{"size": 1, "kind": "x"}, {"size": 1, "kind": "y"}], ("x", "y")),
    ],
)
def test_names_are_what_tells_the_alternatives_apart_or_their_numbers(values, names):
    assert domains.read(opened({"part": tune.choice(values)}))[("part", "one_of")].values == names


def test_alternatives_inside_alternatives():
    inner = tune.choice([{"kind": "x", "a": tune.randint(1, 4)}, {"kind": "y"}])
    space = opened({"part": tune.choice([{"name": "deep", "inner": inner}, {"name": "flat"}])})
    config = {"part": {"name": "deep", "inner": {"kind": "x", "a": 2}}}
    raw = as_opened(config, space)
    assert raw == {
        "part": {
            "one_of": "deep",
            "deep": {"name": "deep", "inner": {"one_of": "x", "x": {"kind": "x", "a": 2}}},
        }
    }
    assert resolved(raw) == config
    assert as_opened(raw, space) == raw


def test_a_config_may_leave_values_out():
    space = opened({**BLOCK, "width": tune.randint(1, 4)})
    assert as_opened({"block": {"kind": "pool"}}, space) == {
        "block": {"one_of": "pool", "pool": {"kind": "pool"}}
    }
    assert as_opened({}, space) == {}


def test_plain_choices_stay_and_tuples_become_lists():
    space = opened({"sizes": tune.choice([(1, 2), (3, 4)]), "fixed": (5, 6), "depth": tune.randint(1, 3)})
    assert domains.read(space)[("sizes",)].values == ([1, 2], [3, 4])
    assert space["fixed"] == [5, 6]
    assert as_opened({"sizes": (3, 4)}, space) == {"sizes": [3, 4]}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"act": tune.choice([len, max])}, "architecture/act holds <built-in function len>: give names"),
        ({"a": {1: tune.randint(1, 3)}}, "architecture/a has the key 1: give names without '/'"),
        ({"a/b": 1}, "architecture has the key 'a/b'"),
    ],
)
def test_what_json_does_not_have_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        opened(space)


def test_a_part_that_fits_no_alternative_is_refused():
    with pytest.raises(ValueError, match=r"architecture/block is .*'kernel': 7.* alternatives conv, pool"):
        as_opened({"block": {"kind": "conv", "kernel": 7}}, opened(BLOCK))
    with pytest.raises(ValueError, match="one_of is 'cov', which is none of conv, pool"):
        resolved({"block": {"one_of": "cov", "conv": {}, "pool": {}}})
