import pytest
from ray.tune.search.sample import Domain

from raysearch.search_spaces import ResNetPlan, StagePlan, enlarge, resnet
from raysearch.search_spaces.architectures import decode_architecture, possible_parts


def test_what_has_one_value_is_a_constant():
    space = resnet(stages=2, depth=2, width=16, kernel=(3,), block="basic")
    assert decode_architecture(space).encode() == space


def test_ranges_are_domains():
    space = resnet(stages=(1, 4))
    assert isinstance(space["stages"], Domain)
    assert possible_parts(space) == ("stem", "stage1", "stage2", "stage3", "stage4", "head")
    assert {space["stem"]["width"].sample() % 8 for _ in range(20)} == {0}


def test_parts_and_widths():
    plan = ResNetPlan(8, (StagePlan(1, 16), StagePlan(2, 24)))
    assert plan.parts() == ("stem", "stage1", "stage2", "head")
    assert plan.widths() == {"stem": 8, "stage1": 16, "stage2": 24}


def test_enlarge_doubles_every_width():
    larger = decode_architecture(enlarge(ResNetPlan(8, (StagePlan(3, 16, 5, "plain"),)).encode()))
    assert larger == ResNetPlan(16, (StagePlan(3, 32, 5, "plain"),))
    with pytest.raises(ValueError, match="factor=1 does not enlarge"):
        enlarge({}, 1)


def test_stages_beyond_the_number_are_not_read():
    config = {"stages": 1, "stem": {"width": 8}, "stage1": {"depth": 1, "width": 8}, "stage2": {}}
    assert len(decode_architecture(config).stages) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage2": {"depth": 1}}, "architecture/stage2 has no width"),
        (
            {"stage2": {"depth": 1, "width": 8, "block": "bottleneck"}},
            "stage2: block 'bottleneck' is not one of",
        ),
        ({"stage2": {"depth": 1, "width": 8, "kernel": 4}}, "stage2: kernel 4 is not one of"),
        ({"stage2": {"depth": 0, "width": 8}}, "stage2: a stage of depth 0"),
        ({"stage2": {"depht": 1}}, "did you mean 'depth'"),
        ({"stages": 9}, "architecture/stages is 9"),
        ({"stem": {}}, "architecture/stem has no width"),
        ({"stem": 3}, "architecture/stem is 3, not a mapping"),
    ],
)
def test_bad_configs(change, message):
    config = {"stages": 2, "stem": {"width": 8}, "stage1": {"depth": 1, "width": 8}, **change}
    with pytest.raises(ValueError, match=message):
        decode_architecture(config)


def test_bad_spaces():
    with pytest.raises(ValueError, match="at most 6 stages"):
        resnet(stages=(3, 7))
    with pytest.raises(ValueError, match="the architecture has no 'stem'"):
        possible_parts({"family": "resnet"})
