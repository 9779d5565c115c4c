from __future__ import annotations

import pytest
from ray import tune

from raysearch import search_spaces as spaces


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"arch": {}}, "the space has no key 'arch'; did you mean 'architecture'"),
        ({"training": {"lrr": 1e-3}}, "training has no key 'lrr'; did you mean 'lr'"),
        ({"training": {"lr": tune.uniform(1e-2, 1e-4)}}, "training/lr goes from 0.01 to 0.0001"),
        ({"training": {"lr": tune.randn()}}, "training/lr has no bounds"),
        ({"training": {"lr": tune.uniform(-1, 1)}}, "training/lr is 0.0: it must be positive"),
        ({"training": {"lr": tune.grid_search([1, 2])}}, "training/lr is a grid or a function"),
        ({"training": {"lr": tune.sample_from(lambda: 1)}}, "training/lr is a grid or a function"),
        ({"training": {"lr": tune.choice([])}}, "training/lr is a choice among nothing"),
        ({"training": {"lr": "fast"}}, "training/lr is 'fast', not a number"),
        ({"training": 3}, "training is 3, not a mapping"),
        ({"pruning": spaces.channel_pruning()}, "pruning needs an architecture space or a model"),
        ({"pruning": {"ratios": {"stem": tune.uniform(0, 1.5)}}}, "pruning ratios over a model"),
        ({"teacher": spaces.teachers("larger")}, "needs an architecture to enlarge"),
        (
            {"architecture": spaces.resnet(), "pruning": {"ratios": {"head": tune.uniform(0, 0.5)}}},
            "pruning/ratios has no key 'head'",
        ),
        (
            {"architecture": spaces.resnet(), "pruning": {"ratios": {"stem": tune.uniform(0, 1.5)}}},
            "pruning/ratios/stem is 1.5",
        ),
        ({"architecture": spaces.resnet(), "bits": {"stage1": {"weight": 8}}}, "did you mean 'weights'"),
        (
            {"architecture": {"family": "vgg", "stem": {"width": 8}}},
            "architecture/family is 'vgg'; known: resnet",
        ),
    ],
)
def test_bad_spaces_say_why(space, message):
    with pytest.raises(ValueError, match=message):
        spaces.bind(space)


def test_parts_that_a_model_lacks(model, example):
    with pytest.raises(ValueError, match="bits has no key 'secnd'; did you mean 'second'"):
        spaces.bind({"bits": {"secnd": {"weights": 8}}}, model=model, example_input=example)
    with pytest.raises(ValueError, match="pruning/ratios has no key 'head'"):
        spaces.bind({"pruning": {"ratios": {"head": 0.5}}}, model=model, example_input=example)
    with pytest.raises(ValueError, match="give example_input="):
        spaces.bind({"pruning": spaces.channel_pruning()}, model=model)


def test_what_is_excluded_is_in_neither_part_of_a_space(model, example):
    deferred = {"pruning": spaces.channel_pruning(), "bits": spaces.bit_widths()}
    space = spaces.bind(deferred, model=model, example_input=example, exclude=["third", "head"])
    assert list(space.domains["pruning"]["ratios"]) == ["first"]
    assert list(space.domains["bits"]) == ["first", "second"]
    with pytest.raises(ValueError, match="pruning/ratios has no key 'third'"):
        spaces.bind(
            {"pruning": {"ratios": {"third": 0.5}}}, model=model, example_input=example, exclude=["third"]
        )
    searched = spaces.bind(
        {"architecture": spaces.resnet(stages=2), **deferred}, exclude=["stem", "stage1.0.conv1"]
    )
    assert list(searched.domains["pruning"]["ratios"]) == ["stage1", "stage2"]
    assert list(searched.domains["bits"]) == ["stage1", "stage2", "head"]


@pytest.mark.parametrize("section", ["pruning", "bits"])
def test_a_functions_own_exclude_holds_where_it_waits_for_its_model(section, model, example):
    make = {"pruning": spaces.channel_pruning, "bits": spaces.bit_widths}[section]
    over = {"model": model, "example_input": example}
    found = spaces.bind({section: make(exclude=("first",))}, **over).domains[section]
    shown = found["ratios"] if section == "pruning" else found
    assert "first" not in shown
    assert "third" in shown
    with pytest.raises(ValueError, match=f"{section}: exclude has 'frist'; did you mean 'first'"):
        spaces.bind({section: make(exclude=["frist"])}, **over)
    with pytest.raises(ValueError, match="exclude='first': give a list"):
        make(exclude="first")
    stages = spaces.bind({"architecture": spaces.resnet(stages=2), section: make(exclude=("stage1",))})
    shown = stages.domains[section]["ratios"] if section == "pruning" else stages.domains[section]
    assert "stage1" not in shown
    assert "stage2" in shown
    with pytest.raises(ValueError, match=r"exclude has 'stage1\.0'; did you mean 'stage1'"):
        spaces.bind({"architecture": spaces.resnet(stages=2), section: make(exclude=("stage1.0",))})
