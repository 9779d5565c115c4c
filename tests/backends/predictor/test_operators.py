"""What operators come to as features."""

from __future__ import annotations

import pytest

from raysearch.backends.predictor.operators import Operator, features, features_named, filled, products


def test_features_are_sums_by_kind_in_a_fixed_order():
    found = features(
        [Operator("Conv 3x3", 10, 20, 5, 7), Operator("Conv 3x3", 1, 2, 0, 3), Operator("Add", moved=4)]
    )
    assert found == {
        "Add/bytes": 4,
        "Add/count": 1,
        "Conv 3x3/bytes": 10,
        "Conv 3x3/count": 2,
        "Conv 3x3/gathered": 5,
        "Conv 3x3/macs": 11,
        "Conv 3x3/padded": 22,
    }
    assert list(found) == sorted(found)


def test_integers_idle_operators_and_repeats_are_told_apart():
    found = features([Operator("Add", integer=True), Operator("Add", idle=True), Operator("Add", times=5)])
    assert found == {"Add in integers/count": 1, "idle Add/count": 1, "Add/count": 5}


def test_order_of_operators_does_not_matter(models):
    assert features(models[0]) == pytest.approx(features(models[0][::-1]))


def test_names_of_a_set_are_those_of_all():
    assert features_named([{"b/count": 1}, {"a/count": 1, "b/count": 2}]) == ("a/count", "b/count")
    assert features_named([]) == ()


@pytest.mark.parametrize(("channels", "expected"), [(1, 16), (16, 16), (17, 32), (64, 64)])
def test_channels_are_filled_up_to_whole_lanes(channels, expected):
    assert filled(channels) == expected


def test_products_of_convolutions():
    plain = products(given=8, made=24, positions=100, kernel=9)
    assert plain == {"macs": 8 * 24 * 900, "padded": 16 * 32 * 900, "gathered": 8 * 900}
    depthwise = products(given=24, made=24, positions=100, kernel=9, groups=24)
    assert depthwise == {"macs": 24 * 900, "padded": 32 * 900, "gathered": 24 * 900}
