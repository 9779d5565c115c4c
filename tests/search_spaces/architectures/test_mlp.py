import pytest

from raysearch.search_spaces import LayerPlan, MLPPlan, mlp
from raysearch.search_spaces.architectures import decode_architecture, possible_parts


def test_parts_and_widths():
    plan = MLPPlan((LayerPlan(64), LayerPlan(32)), norm=False)
    assert plan.parts() == ("layer1", "layer2", "head")
    assert plan.widths() == {"layer1": 64, "layer2": 32}


def test_more_than_nine_layers_stay_in_order():
    space = mlp(layers=(1, 12))
    assert possible_parts(space) == (*(f"layer{i}" for i in range(1, 13)), "head")


def test_what_has_one_value_is_a_constant():
    space = mlp(layers=2, width=32, norm=False)
    assert decode_architecture(space).encode() == space


def test_bad_spaces():
    with pytest.raises(ValueError, match=r"layers=\(1, 25\): at most 24"):
        mlp(layers=(1, 25))
    with pytest.raises(ValueError, match="both bounds must be multiples of the step 16"):
        mlp(width=(10, 64))
