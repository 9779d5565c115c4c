import pytest

from raysearch.search_spaces import InvertedPlan, MobileNetPlan, PruningPlan, bind, mobilenet
from raysearch.search_spaces.architectures import decode_architecture
from raysearch.search_spaces.architectures.mobilenet import squeezed

PLAN = MobileNetPlan(
    8, (InvertedPlan(1, 16, 1, 3, True), InvertedPlan(2, 24, 4, 5, True)), activation="hard_swish"
)


def test_what_has_one_value_is_a_constant():
    space = mobilenet(stages=2, depth=2, width=16, expansion=3, kernel=5, squeeze=True)
    assert decode_architecture(space).encode() == space


def test_widths_name_the_first_layer_of_each_group():
    assert PLAN.widths() == {
        "stem.conv": 8,
        "stage1.0.squeeze.reduce": 8,
        "stage1.0.project": 16,
        "stage2.0.expand": 64,
        "stage2.0.squeeze.reduce": 16,
        "stage2.0.project": 24,
        "stage2.1.expand": 96,
        "stage2.1.squeeze.reduce": 24,
    }


def test_squeezed_channels_are_a_quarter_in_eights():
    assert [squeezed(hidden) for hidden in (8, 32, 64, 96, 384)] == [8, 8, 16, 24, 96]


def test_a_config_may_leave_out_what_has_a_default():
    config = {"family": "mobilenet", "stem": {"width": 8}, "stage1": {"depth": 1, "width": 16}}
    assert decode_architecture(config) == MobileNetPlan(8, (InvertedPlan(1, 16, 4, 3, False),))


def test_ratios_that_keep_the_same_channels_are_one_variant():
    space = bind({"architecture": mobilenet()})

    def pruned(ratio):
        return space.variant(
            {"architecture": PLAN.encode(), "pruning": {"ratios": {"stage2": ratio}, "multiple": 8}}
        )

    assert pruned(0.46).plan.pruning == PruningPlan({"stage2": 0.5})
    assert pruned(0.46).key == pruned(0.5).key != pruned(0.3).key
    assert space.variant(pruned(0.46).config).config == pruned(0.46).config


def test_bad_spaces():
    with pytest.raises(ValueError, match="stages=7: at most 6 stages"):
        mobilenet(stages=7)
    with pytest.raises(ValueError, match=r"squeeze=.* must name each value once, from False, True"):
        mobilenet(squeeze=3)
    with pytest.raises(ValueError, match=r"activation=.* must name"):
        mobilenet(activation="swish")
