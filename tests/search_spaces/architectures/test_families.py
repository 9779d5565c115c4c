"""What holds for every ready family of architectures."""

from __future__ import annotations

import json

import pytest
from families import PLANS, SPACES, draws

from raysearch.basics.failures import UserError
from raysearch.search_spaces import ResNetPlan, StagePlan, bind, channel_pruning, enlarge
from raysearch.search_spaces.architectures import decode_architecture, possible_parts, prunable_parts
from raysearch.search_spaces.architectures.families import FAMILIES


def test_every_family_is_tried_here() -> None:
    assert set(SPACES) == set(FAMILIES)


@pytest.mark.parametrize("family", SPACES)
def test_the_canonical_form_decodes_to_the_same_plan(family: str) -> None:
    for config in draws(family, 50):
        plan = decode_architecture(config)
        canonical = plan.encode()
        assert decode_architecture(canonical) == plan
        assert json.loads(json.dumps(canonical)) == canonical
        assert decode_architecture(canonical).encode() == canonical
        assert set(canonical) <= set(config)


@pytest.mark.parametrize("family", SPACES)
def test_what_is_read_decides_the_plan(family: str) -> None:
    for config in draws(family, 20):
        plan = decode_architecture(config)
        kept = {k: v for k, v in config.items() if not isinstance(v, dict) or plan.reads((k, "width"))}
        assert decode_architecture(kept) == plan


@pytest.mark.parametrize("family", SPACES)
def test_the_parts_of_a_space_are_those_of_its_networks(family: str) -> None:
    parts, pruned = possible_parts(SPACES[family]), prunable_parts(SPACES[family])
    assert parts[-1] == "head"
    assert "head" not in pruned
    found = {part for config in draws(family, 50) for part in decode_architecture(config).parts()}
    assert found == set(parts)
    plan = decode_architecture(draws(family, 1)[0])
    assert set(parts) <= set(plan.known_parts())
    assert set(pruned) <= set(plan.pruned_parts())


@pytest.mark.parametrize("family", SPACES)
def test_every_ratio_of_a_space_is_active_in_some_network(family: str) -> None:
    space = bind({"architecture": SPACES[family], "pruning": channel_pruning()})
    ratios = dict.fromkeys(prunable_parts(SPACES[family]), 0.5)
    assert set(space.domains["pruning"]["ratios"]) == set(ratios)
    configs = ({"architecture": config, "pruning": {"ratios": ratios}} for config in draws(family, 50))
    active = {name for config in configs for name in space.variant(config).active}
    assert {f"pruning/ratios/{part}" for part in ratios} <= active


@pytest.mark.parametrize("family", PLANS)
def test_a_parent_of_another_family_gives_way_to_the_middle_of_the_space(family: str) -> None:
    own = {"architecture": PLANS[family], "training": {"lr": 1e-3}}
    other = {**own, "architecture": ResNetPlan(8, (StagePlan(1, 8),)).encode()}
    space = bind({"architecture": SPACES[family]}, parent=other)
    assert space.settled(own) == own
    settled = space.settled(other)
    assert settled["architecture"]["family"] == family
    assert settled["training"] == own["training"]
    assert space.variant(settled).config["architecture"] == settled["architecture"]


@pytest.mark.parametrize("family", PLANS)
def test_a_larger_teacher_is_wider_everywhere(family: str) -> None:
    plan = decode_architecture(PLANS[family])
    larger = decode_architecture(enlarge(plan.encode()))
    assert larger.widths().keys() == plan.widths().keys()
    assert all(width >= plan.widths()[name] for name, width in larger.widths().items())
    assert sum(larger.widths().values()) > 1.8 * sum(plan.widths().values())


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("mobilenet", {"stage2": {"depth": 1}}, "architecture/stage2 has no width"),
        ("mobilenet", {"stage1": {"depth": 0, "width": 8}}, "architecture/stage1: a stage of depth 0"),
        (
            "mobilenet",
            {"stage1": {"depth": 1, "width": 8, "expansion": 13}},
            "expansion 13 is not from 1 to 12",
        ),
        ("mobilenet", {"stage1": {"depth": 1, "width": 8, "kernel": 4}}, "kernel 4 is not one of 3, 5, 7"),
        (
            "mobilenet",
            {"stage1": {"depth": 1, "width": 8, "squeeze": "yes"}},
            "stage1/squeeze is 'yes', neither true nor false",
        ),
        (
            "mobilenet",
            {"stage1": {"depth": 1, "width": 8, "expand": 2}},
            "'expand'; did you mean 'expansion'",
        ),
        ("mobilenet", {"activation": "swish"}, "activation 'swish' is not one of relu, hard_swish"),
        ("vit", {"patch": 3}, "patch 3 is not one of 1, 2, 4"),
        ("vit", {"heads": 0}, "architecture/heads is 0, not 1 to"),
        ("vit", {"embedding": 32}, "architecture has no key 'embedding'"),
        ("vit", {"block1": {"mlp_ratio": 0}}, "block1: mlp_ratio 0 is not from 1 to 16"),
        ("vit", {"blocks": 3, "block3": 7}, "architecture/block3 is 7, not a mapping"),
        ("conv1d", {"stem": {}}, "architecture/stem has no width"),
        (
            "conv1d",
            {"stage1": {"depth": 1, "width": 8, "block": "separable"}},
            "block 'separable' is not one of",
        ),
        ("mlp", {"layers": 25}, "architecture/layers is 25, not 1 to 24"),
        ("mlp", {"layers": 3}, "architecture/layer3 has no width"),
        ("mlp", {"layer1": {"width": 2.5}}, "architecture/layer1/width is 2.5, not a whole number"),
        ("mlp", {"norm": None}, "architecture/norm is None, neither true nor false"),
    ],
)
def test_bad_configs_are_refused_in_a_sentence(family: str, change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode_architecture({**PLANS[family], **change})


def test_a_ratio_of_what_cannot_be_pruned_is_refused() -> None:
    space = bind({"architecture": SPACES["vit"]})
    config = {"architecture": PLANS["vit"], "pruning": {"ratios": {"patches": 0.5}}}
    with pytest.raises(UserError, match="pruning/ratios has no key 'patches'"):
        space.variant(config)
