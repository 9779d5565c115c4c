from __future__ import annotations

import pytest
import torch

import raysearch as rs
from raysearch.search_spaces import conv1d, mobilenet, resnet
from raysearch.search_spaces.architectures import decode_architecture
from raysearch.search_spaces.binding import bind
from raysearch.trainables.models.ready import build_network

SHAPES = {resnet: (3, 16, 16), mobilenet: (3, 16, 16), conv1d: (3, 32)}


@pytest.mark.parametrize("family", SHAPES)
def test_a_network_is_left_after_the_stage_that_is_chosen(family):
    space = bind({"architecture": family(stages=3, depth=1, width=(8, 16), exits=("none", "after_stage_2"))})
    assert space.exits
    config = {
        "stages": 3,
        "stem": {"width": 8},
        **{f"stage{i}": {"depth": 1, "width": 8} for i in (1, 2, 3)},
        "exits": "after_stage_2",
        "family": family.__name__,
    }
    plan = space.variant({"architecture": config}).plan.architecture
    assert plan.may_exit()
    assert decode_architecture(plan.encode()) == plan
    network = build_network(plan, SHAPES[family], 5).eval()
    outputs = network(torch.randn(2, *SHAPES[family]))
    assert isinstance(outputs, rs.Exits)
    assert outputs.early.shape == outputs.last.shape == (2, 5)
    plain = build_network(decode_architecture({**config, "exits": "none"}), SHAPES[family], 5)
    assert set(network.state_dict()) - set(plain.state_dict()) == {
        "stage2.exit.linear.weight",
        "stage2.exit.linear.bias",
    }


def test_an_exit_behind_the_last_stage_is_none():
    config = {"stages": 1, "stem": {"width": 8}, "stage1": {"depth": 1, "width": 8}, "exits": "after_stage_1"}
    assert not decode_architecture(config).may_exit()
    assert "exits" not in decode_architecture(config).encode()


def test_spaces_without_exits_are_as_they_were():
    assert "exits" not in resnet()
    assert not bind({"architecture": resnet()}).exits


def test_the_parent_and_the_design_are_plain_where_that_is_legal():
    space = bind({"architecture": resnet(width=(8, 16), exits=("after_stage_1", "none"))})
    parent = space.settled({})
    assert "exits" not in parent["architecture"]
    assert not any(space.variant(config).plan.may_exit for config in space.design(parent))
    always = bind({"architecture": resnet(width=(8, 16), exits="after_stage_1")})
    assert "exits" not in always.settled({})["architecture"]
    assert all(always.variant(config).plan.may_exit for config in always.design(always.settled({})))


def test_settings_of_exits_count_only_with_one():
    training = {"exit_budget": 0.7, "exit_weight": 0.3, "lr": 1e-3}
    space = bind({"architecture": resnet(exits=("none", "after_stage_1")), "training": training})
    stages = {f"stage{i}": {"depth": 1, "width": 8, "kernel": 3, "block": "basic"} for i in (1, 2, 3)}
    plain = {"architecture": {"stages": 3, "stem": {"width": 8}, **stages}}
    left = {"architecture": {**plain["architecture"], "exits": "after_stage_1"}}
    assert space.variant(left).plan.training.exit_budget == 0.7
    assert "exit_budget" not in space.variant(plain).config["training"]
    other = {**plain, "training": {"exit_budget": 0.5}}
    assert space.variant(other).key == space.variant(plain).key


@pytest.mark.parametrize(
    ("exits", "message"),
    [
        ("after_stage_3", "exits has 'after_stage_3'"),
        (("none", "after_stage1"), "did you mean 'after_stage_1'"),
        (("none", "none"), "must name each exit once"),
        ((), "must name each exit once"),
    ],
)
def test_what_is_no_exit_is_refused(exits, message):
    with pytest.raises(ValueError, match=message):
        resnet(stages=(1, 3), exits=exits)
