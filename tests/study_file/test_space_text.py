from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import tune

from raysearch.search_spaces.architectures.alternatives import opened
from raysearch.search_spaces.training import KEYS, decode_training
from raysearch.study_file.space_text import DOMAINS, dump_space, parse_space
from raysearch.study_file.yaml_text import parse_yaml

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3))


@st.composite
def domains(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Any legal domain in the form of a study file."""
    name = draw(st.sampled_from(sorted(DOMAINS)))
    if name == "choice":
        value = st.one_of(st.none(), st.booleans(), st.integers(), numbers, st.text())
        return {name: draw(st.lists(value, min_size=1, max_size=5))}
    low = draw(st.integers(1, 1000))
    high = low + draw(st.integers(1, 1000))
    return {name: [low, high, *([1] if len(DOMAINS[name]) == 3 else [])]}


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["lr", "batch_size", "a", "b"]), domains()))
def test_every_domain_comes_back_as_it_was_written(training: dict[str, Any]) -> None:
    space = {"training": training}
    assert dump_space(parse_space(space)) == space


def test_parsed_domains_are_those_of_tune() -> None:
    parsed = parse_space({"training": {"lr": {"qloguniform": [1e-4, 1e-2, 1e-5]}, "batch_size": 64}})[
        "training"
    ]
    expected = tune.qloguniform(1e-4, 1e-2, 1e-5)
    assert parsed["batch_size"] == 64
    assert (parsed["lr"].lower, parsed["lr"].upper) == (expected.lower, expected.upper)
    assert type(parsed["lr"].sampler.sampler) is type(expected.sampler.sampler)


def test_space_functions_are_called_with_their_arguments() -> None:
    parsed = parse_space(
        {
            "architecture": {"resnet": {"depth": [1, 2], "stages": 2}},
            "teacher": {"teachers": ["parent", None]},
        }
    )
    assert set(parsed["architecture"]) >= {"family", "stages", "stem", "stage1", "stage2"}
    assert list(parsed["teacher"]["name"].categories) == ["parent", "none"]


def test_channels_and_weights_are_pruned_in_one_section() -> None:
    parsed = parse_space({"pruning": {"channel_pruning": {}, "weight_sparsity": {"pattern": "2:4"}}})
    assert [each.maker.__name__ for each in parsed["pruning"].all] == ["channel_pruning", "weight_sparsity"]


def test_parts_of_ones_own_may_be_called_as_a_family_is() -> None:
    given = {"mlp": {"width": {"choice": [8, 16]}}, "depth": 2}
    parsed = parse_space({"architecture": given})
    assert parsed["architecture"]["mlp"]["width"].categories == [8, 16]


def test_domains_may_stand_inside_the_alternatives_of_an_architecture() -> None:
    block = {"choice": [{"kind": "conv", "kernel": {"choice": [3, 5]}}, {"kind": "pool"}]}
    space = opened(parse_space({"architecture": {"block": block}})["architecture"])
    written = dump_space(space)
    assert written["block"]["conv"] == {"kind": "conv", "kernel": {"choice": [3, 5]}}
    assert dump_space(parse_space({"architecture": written})["architecture"]) == written


def test_a_function_with_names_and_keywords() -> None:
    parsed = parse_space({"teacher": {"teachers": {"names": ["parent"], "temperature": [2, 3]}}})
    assert parsed["teacher"]["temperature"].lower == 2


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"training": {"lr": {"logunifrom": [1, 2]}}}, "space.training.lr .*did you mean 'loguniform'"),
        ({"training": {"lr": {"loguniform": [1e-2, 1e-3]}}}, "space.training.lr.*low must be less than high"),
        ({"training": {"lr": {"uniform": [1, 1]}}}, "low must be less than high"),
        ({"training": {"lr": {"loguniform": [0, 1]}}}, "greater than 0"),
        ({"training": {"lr": {"loguniform": ["a", 1]}}}, r"give the numbers \[low, high\]"),
        ({"training": {"lr": {"loguniform": 3}}}, "give the list"),
        ({"training": {"n": {"randint": [0.5, 1]}}}, "whole numbers"),
        ({"training": {"n": {"quniform": [0, 1, 0.3]}}}, "not divisible"),
        ({"training": {"n": {"quniform": [0, 1, 0]}}}, "q must be greater than 0"),
        ({"training": {"n": {"choice": []}}}, "choice is"),
        ({"architecture": {"resnt": {"depth": 1}}}, "did you mean 'resnet'"),
        ({"architecture": {"resnet": {"dept": 1}}}, "no argument 'dept'; did you mean 'depth'"),
        ({"architecture": {"resnet": {"depth": [3, 1]}}}, "space.architecture.resnet: depth"),
        ({"pruning": {"channel_pruning": {"over": 3}}}, "no argument 'over'"),
        ({"pruning": {"channel_pruning": {}, "weight_sparsty": {}}}, "did you mean 'weight_sparsity'"),
        ({"pruning": {"channel_pruning": 3}}, "as a mapping"),
        ({"architecture": {"mlp": {}, "vit": {}}}, "space.architecture has mlp and vit: give one of them"),
        ({"pruning": 3}, "space.pruning is 3: give a mapping"),
    ],
)
def test_mistakes_are_named(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_space(space)


@pytest.mark.parametrize(
    "domain", [tune.randn(0, 1), tune.sample_from(lambda spec: 1), tune.grid_search([1, 2])]
)
def test_what_a_file_cannot_hold_is_refused(domain: Any) -> None:
    with pytest.raises(ValueError, match=r"space\.training\.lr is a"):
        dump_space({"training": {"lr": domain}})


def test_every_setting_of_training_is_read_and_written() -> None:
    text = """
    optimizer: {choice: [adamw, sgd]}
    momentum: {uniform: [0.8, 0.99]}
    schedule: onecycle
    warmup: 0.3
    clip_norm: 0
    accumulate: {choice: [1, 2, 4]}
    precision: {choice: [float32, bf16]}
    checkpointing: {choice: [true, false]}
    ema: {uniform: [0.0, 0.99]}
    mixup: {choice: [0, 0.2]}
    layer_lr: {0: 0.1, stage1: {loguniform: [0.1, 1.0]}}
    """
    training = parse_yaml(text, "text")
    parsed = parse_space({"training": training})
    assert dump_space(parsed) == {"training": training}
    assert set(training) <= set(KEYS)
    for draw in range(10):
        given = {key: getattr(v, "sample", lambda v=v: v)() for key, v in parsed["training"].items()}
        given["layer_lr"] = {"0": 0.1, "stage1": parsed["training"]["layer_lr"]["stage1"].sample()}
        plan = decode_training(given, quantized=bool(draw % 2))
        assert type(plan.checkpointing) is bool
        assert plan.layer_lr == given["layer_lr"]
