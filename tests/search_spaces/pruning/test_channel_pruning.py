import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from raysearch.search_spaces import PruningPlan, channel_pruning, kept_channels, resnet
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.pruning.channel_pruning import decode_pruning, encode_pruning


@given(st.integers(1, 300), st.floats(0, 0.99), st.sampled_from([1, 4, 8, 16, 32]))
def test_kept_channels(width, ratio, multiple):
    kept = kept_channels(width, ratio, multiple)
    assert 1 <= kept <= width
    assert kept == width or kept % multiple == 0
    assert kept >= kept_channels(width, min(0.99, ratio + 0.1), multiple)
    assert abs(kept - width * (1 - ratio)) <= multiple


@given(
    st.dictionaries(st.sampled_from(["stem", "stage1", "stage2", "stage9"]), st.floats(0, 0.95)),
    st.dictionaries(st.sampled_from(["stem", "stage1", "stage2"]), st.integers(1, 130)),
    st.sampled_from([1, 4, 8]),
)
def test_rounding_keeps_the_channels_and_is_idempotent(ratios, widths, multiple):
    plan = decode_pruning({"ratios": ratios, "multiple": multiple}, widths)
    for part, width in widths.items():
        rounded = plan.ratio(part) if plan else 0.0
        assert kept_channels(width, rounded, multiple) == kept_channels(width, ratios.get(part, 0), multiple)
    if plan is not None:
        assert decode_pruning(encode_pruning(plan), widths) == plan


def test_groups_of_several_widths_under_one_part():
    widths = {"layer1.a": 16, "layer1.b": 64, "layer2.a": 8}
    plan = decode_pruning({"ratios": {"layer1": 0.1, "layer2": 0.5}, "multiple": 8}, widths)
    assert plan.ratios == {"layer1": 0.1}, "the smallest step that keeps 16 of 16 and 56 of 64"
    assert decode_pruning({"ratios": {"layer1": 0.01}, "multiple": 8}, widths) is None


@given(
    st.lists(st.integers(1, 200), min_size=2, max_size=4, unique=True),
    st.tuples(st.floats(0, 0.95), st.floats(0, 0.95)),
    st.sampled_from([1, 4, 8]),
)
def test_ratios_that_keep_the_same_channels_are_one_also_where_widths_differ(widths, ratios, multiple):
    groups = {f"part.{width}": width for width in widths}
    plans = [decode_pruning({"ratios": {"part": r}, "multiple": multiple}, groups) for r in ratios]
    kept = [[kept_channels(w, r, multiple) for w in widths] for r in ratios]
    assert (plans[0] == plans[1]) == (kept[0] == kept[1])
    for plan, wanted in zip(plans, kept, strict=True):
        ratio = plan.ratio("part") if plan else 0.0
        assert [kept_channels(w, ratio, multiple) for w in widths] == wanted
        assert plan is None or decode_pruning(encode_pruning(plan), groups) == plan


def test_a_ratio_too_small_for_its_floats_prunes_nothing():
    assert kept_channels(5, 1e-20, 4) == 5
    assert kept_channels(5, 1e-6, 4) == 4
    assert decode_pruning({"ratios": {"part": 1e-131}, "multiple": 4}, {"part.a": 5, "part.b": 6}) is None


def test_a_ratio_near_all_of_it_is_its_own_canonical_form():
    widths = {"body.a": 10, "body.b": 1000}
    plan = decode_pruning({"ratios": {"body": 0.999}, "multiple": 1}, widths)
    assert 0 < plan.ratios["body"] < 1
    assert decode_pruning(encode_pruning(plan), widths) == plan


def test_the_innermost_part_decides():
    plan = PruningPlan({"layer1": 0.5, "layer1.a": 0.25})
    assert [plan.ratio(n) for n in ("layer1.a", "layer1.b", "layer10", "layer1")] == [0.25, 0.5, 0.0, 0.5]


def test_a_space_over_an_architecture_leaves_the_head_out():
    space = channel_pruning(0.5, over=resnet(stages=2))
    assert list(space["ratios"]) == ["stem", "stage1", "stage2"]
    values = {space["ratios"]["stem"].sample() for _ in range(200)}
    assert min(values) == 0
    assert max(values) == pytest.approx(0.5)


def test_without_over_it_waits():
    deferred = channel_pruning(0.5, multiple=16, criterion=("magnitude", "random"))
    assert isinstance(deferred, Deferred)
    assert deferred.bind(resnet())["multiple"] == 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: channel_pruning(1.0), "max_ratio=1.0 is not in"),
        (lambda: channel_pruning(multiple=0), "multiple=0"),
        (lambda: channel_pruning(criterion="tailor"), "from magnitude, random, taylor, hessian"),
        (lambda: decode_pruning({"ratios": {"stem": 1.0}}, {}), "pruning/ratios/stem is 1.0"),
        (lambda: decode_pruning({"criterion": "tailor"}, {}), "pruning/criterion is 'tailor'"),
        (lambda: decode_pruning({"ratio": {}}, {}), "did you mean 'ratios'"),
        (lambda: decode_pruning({"multiple": 0}, {}), "pruning/multiple is 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_model_without_channels_that_can_go_has_no_ratios_and_a_warning_says_why():
    over = nn.Linear(3, 2), torch.zeros(2, 3)
    with pytest.warns(UserWarning, match="nothing is pruned: the model .* has no layer"):
        assert channel_pruning(over=over)["ratios"] == {}
    with pytest.raises(ValueError, match="fails at the operator"):
        channel_pruning(over=(nn.Linear(3, 2), torch.zeros(2, 4)))
