from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raysearch import search_spaces as spaces
from raysearch.search_spaces import domains
from raysearch.search_spaces.deferred import Deferred
from raysearch.search_spaces.pruning.weight_sparsity import decode_sparsity, encode_sparsity, weight_sparsity

PARTS = ("stem", "stage1", "head")


def both(**more):
    keys = {
        "architecture": spaces.resnet(stages=(1, 2)),
        "pruning": spaces.channel_pruning() | spaces.weight_sparsity(**more),
    }
    return spaces.bind(keys)


def config(pattern, *, stages=1, channels=None, **ratios):
    stage = {"depth": 1, "width": 16}
    return {
        "architecture": {"stages": stages, "stem": {"width": 16}, "stage1": stage, "stage2": stage},
        "pruning": {
            "ratios": channels or {},
            "sparsity": {"pattern": pattern, "criterion": "magnitude", "ratios": ratios},
        },
    }


def test_one_section_holds_both():
    space = both(criterion=("magnitude", "taylor"))
    pruning = space.domains["pruning"]
    assert set(pruning) == {"criterion", "ratios", "multiple", "sparsity"}
    assert list(pruning["sparsity"]["ratios"]) == ["stem", "stage1", "stage2", "head"]
    assert list(pruning["ratios"]) == ["stem", "stage1", "stage2"]
    found = space.variant(config("unstructured", channels={"stem": 0.5}, stage1=0.4)).plan
    assert found.pruning.ratios == {"stem": 0.5}
    assert found.sparsity.ratios == {"stage1": 0.4}


def test_alone_it_is_a_section_of_its_own():
    waiting = weight_sparsity(pattern="unstructured")
    assert isinstance(waiting, Deferred)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    space = spaces.bind({"pruning": waiting}, model=model, example_input=torch.zeros(2, 8))
    assert set(space.domains["pruning"]["sparsity"]["ratios"]) == {"0", "2"}
    plan = space.variant({"pruning": {"sparsity": {"pattern": "unstructured", "ratios": {"0": 0.5}}}}).plan
    assert plan.pruning is None
    assert plan.sparsity.ratio("0") == 0.5
    assert plan.sparsity.ratio("2") == 0


def test_what_is_not_there_is_inactive_and_not_in_the_canonical_form():
    space = both()
    key = {space.variant(config("none", stage1=r)).key for r in (0.1, 0.5)}
    key |= {space.variant(config("unstructured", stage1=0.0, stage2=0.5)).key}
    assert len(key) == 1, "stage 2 does not exist, and nothing else is zero"
    assert len({space.variant(config("2:4", stage1=r)).key for r in (0.1, 0.5)}) == 1
    canonical = space.variant(config("unstructured", stage1=0.3, stage2=0.5)).config
    assert canonical["pruning"] == {
        "sparsity": {"pattern": "unstructured", "criterion": "magnitude", "ratios": {"stage1": 0.3}}
    }
    assert space.variant(canonical).config == canonical


def test_what_is_active():
    def active(*arguments, **more):
        names = both(criterion=("magnitude", "taylor")).variant(config(*arguments, **more)).active
        return {n.removeprefix("pruning/sparsity/") for n in names if "sparsity" in n}

    assert active("none") == {"pattern"}
    assert active("2:4") == {"pattern", "criterion"}
    ratios = {"ratios/stem", "ratios/stage1", "ratios/head"}
    assert active("unstructured") == {"pattern", *ratios}, "nothing is zero"
    assert active("unstructured", stage1=0.5) == {"pattern", "criterion", *ratios}


@pytest.mark.parametrize("exclude", [(), ("head",)])
def test_excluded_parts_stay_whole_in_every_pattern(exclude):
    space = spaces.bind(
        {"architecture": spaces.resnet(stages=1), "pruning": weight_sparsity(exclude=exclude)}
    )
    parts = {"stem", "stage1", "head"} - set(exclude)
    # What excludes of its own waits for an architecture to be over.
    if exclude:
        over = spaces.resnet(stages=1)
        space = spaces.bind({"architecture": over, "pruning": weight_sparsity(over=over, exclude=exclude)})
    found = space.variant(config("2:4"))
    assert set(found.plan.sparsity.ratios) == parts
    assert space.variant(found.config).plan.sparsity == found.plan.sparsity


def test_layers_without_weights_of_their_own_kind_have_no_share():
    model = nn.Sequential(nn.Embedding(5, 8), nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 2))
    space = spaces.bind({"pruning": weight_sparsity()}, model=model, example_input=torch.zeros(2, 3).long())
    wanted = ["1.self_attn.out_proj", "1.linear1", "1.linear2", "2"]
    assert list(space.domains["pruning"]["sparsity"]["ratios"]) == wanted


def test_what_is_joined_waits_or_does_not():
    bound = weight_sparsity(over=spaces.resnet())
    for join in (lambda: spaces.channel_pruning() | bound, lambda: bound | spaces.channel_pruning()):
        with pytest.raises(ValueError, match="give it to both"):
            join()


def test_the_design_begins_without_zeros():
    space = both()
    parent = {"architecture": config("none")["architecture"]}
    assert all(space.variant(c).plan.sparsity is None for c in space.design(parent))


def test_draws_are_decoded_and_stay_what_they_are():
    space, rng = both(), np.random.default_rng(0)
    for _ in range(20):
        flat = {
            path: values.nearest(rng.uniform()) if path[-1] != "pattern" else values.ends()[rng.integers(3)]
            for path, values in domains.read(space.domains).items()
        }
        found = space.variant(domains.nested(flat))
        assert space.variant(found.config).config == found.config


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_plans_are_written_and_read(pattern):
    plan = decode_sparsity({"pattern": pattern, "ratios": {"stem": 0.25, "stage9": 0.5}}, PARTS)
    assert decode_sparsity(encode_sparsity(plan), PARTS) == plan


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weight_sparsity(1.0), r"max_ratio=1.0 is not in \[0.05, 1\)"),
        (lambda: weight_sparsity(pattern="4:8"), "pattern=.* from none, unstructured, 2:4"),
        (lambda: weight_sparsity(criterion="lamp"), "criterion=.* from magnitude, taylor, annealing"),
        (lambda: decode_sparsity({"pattern": "1:4"}, PARTS), "pruning/sparsity/pattern is '1:4', not one of"),
        (lambda: decode_sparsity({"criterion": "l0"}, PARTS), "pruning/sparsity/criterion is 'l0'"),
        (lambda: decode_sparsity({"ratio": {}}, PARTS), "did you mean 'ratios'"),
        (lambda: decode_sparsity({"ratios": {"stem": 1.5}}, PARTS), r"ratios/stem is 1.5, not in \[0, 1\)"),
        (
            lambda: both().variant(config("unstructured", stage7=0.5)),
            "ratios has no key .stage7.",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
