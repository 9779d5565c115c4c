import pytest

from raysearch.search_spaces import Conv1dPlan, Stage1dPlan, conv1d
from raysearch.search_spaces.architectures import decode_architecture


def test_parts_and_widths():
    plan = Conv1dPlan(8, (Stage1dPlan(1, 16), Stage1dPlan(2, 24, 9, "plain")))
    assert plan.parts() == ("stem", "stage1", "stage2", "head")
    assert plan.widths() == {"stem": 8, "stage1": 16, "stage2": 24}
    assert plan.enlarged(2) == Conv1dPlan(16, (Stage1dPlan(1, 32), Stage1dPlan(2, 48, 9, "plain")))


def test_what_has_one_value_is_a_constant():
    space = conv1d(stages=2, depth=2, width=16, kernel=9, block="plain")
    assert decode_architecture(space).encode() == space


def test_bad_spaces():
    with pytest.raises(ValueError, match=r"kernel=.* must name each value once"):
        conv1d(kernel=4)
