import pytest

from raysearch.search_spaces import BlockPlan, ViTPlan, vit
from raysearch.search_spaces.architectures import decode_architecture, possible_parts, prunable_parts

PLAN = ViTPlan(4, 3, 16, (BlockPlan(2), BlockPlan(4)))


def test_heads_divide_the_embedding():
    assert PLAN.embedding == 48
    assert PLAN.enlarged(2).embedding == 96


def test_only_hidden_layers_of_perceptrons_lose_channels():
    heads = {f"block{i}.attention.(heads)": PLAN.heads for i in (1, 2)}
    assert PLAN.widths() == {"block1.linear1": 96, "block2.linear1": 192, **heads}
    assert possible_parts(vit(blocks=2)) == ("patches", "block1", "block2", "head")
    assert prunable_parts(vit(blocks=2)) == ("block1", "block2")


def test_what_has_one_value_is_a_constant():
    space = vit(blocks=2, patch=4, heads=2, head_width=8, mlp_ratio=2)
    assert decode_architecture(space).encode() == space


def test_bad_spaces():
    with pytest.raises(ValueError, match=r"blocks=\(1, 99\): at most 48"):
        vit(blocks=(1, 99))
    with pytest.raises(ValueError, match=r"patch=.* must name each value once, from 1, 2, 4"):
        vit(patch=3)
    with pytest.raises(ValueError, match="the architecture has no 'block1': make it with vit"):
        possible_parts({"family": "vit"})
