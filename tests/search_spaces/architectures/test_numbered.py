from dataclasses import dataclass

import pytest

from raysearch.basics.failures import UserError
from raysearch.search_spaces.architectures.numbered import Form, decode_integer, decode_numbered

FORM = Form("tower", "floors", "floor", 12, before=("ground",), whole=("ground",))


@dataclass(frozen=True)
class Floor:
    height: int
    lit: bool = False
    kind: str = "plain"


def test_parts_are_in_the_order_of_their_numbers():
    assert FORM.parts(2) == ("ground", "floor1", "floor2", "head")
    space = {"family": "tower", **{f"floor{i}": {} for i in (10, 2, 1, 3, 4, 5, 6, 7, 8, 9)}}
    assert FORM.possible_parts(space)[-2:] == ("floor10", "head")


def test_fields_are_read_by_their_types():
    config = {"floors": 2.0, "floor1": {"height": 3.0, "lit": 1, "kind": "round"}, "floor2": {"height": 1}}
    first, second = decode_numbered(FORM, config, Floor, ())
    assert first == Floor(3, True, "round")
    assert isinstance(first.height, int)
    assert isinstance(first.lit, bool)
    assert second == Floor(1)


def test_without_a_count_all_that_is_given_counts():
    assert len(decode_numbered(FORM, {"floor1": {"height": 1}, "floor2": {"height": 2}}, Floor, ())) == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "architecture/floors is 0, not 1 to 12"),
        ({"floors": 1.5}, "architecture/floors is 1.5, not a whole number"),
        ({"flors": 1}, "did you mean 'floors'"),
        ({"floor1": {}}, "architecture/floor1 has no height"),
        ({"floor1": {"height": 1, "lit": 2}}, "architecture/floor1/lit is 2, neither true nor false"),
        ({"floor1": {"heigth": 1}}, "did you mean 'height'"),
    ],
)
def test_bad_configs(config, message):
    with pytest.raises(UserError, match=message):
        decode_numbered(FORM, config, Floor, ())


def test_integers_at_a_path():
    assert decode_integer({"roof": {"width": 4.0}}, "roof/width", 1, 8) == 4
    for config, message in (
        ({}, "architecture/roof has no width"),
        ({"roof": {"wdth": 1}}, "architecture/roof has no key 'wdth'"),
        ({"roof": {"width": 9}}, "architecture/roof/width is 9, not 1 to 8"),
    ):
        with pytest.raises(UserError, match=message):
            decode_integer(config, "roof/width", 1, 8)
    with pytest.raises(UserError, match="architecture has no doors"):
        decode_integer({}, "doors", 1, 8)
