from __future__ import annotations

import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from ray import tune
from torch import nn

from raysearch import search_spaces as spaces
from raysearch.networks.groups import prunable_groups
from raysearch.search_spaces.architectures.alternatives import opened
from raysearch.search_spaces.architectures.trying import own_family

SHARED = nn.Linear(2, 2)
EXAMPLE = torch.zeros(2, 1, 8, 8)
SPACE = {
    "block": tune.choice(["conv", "mix"]),
    "kernel": tune.choice([3, 5]),
    "width": tune.qrandint(8, 32, 8),
    "depth": tune.randint(1, 4),
}


class Mix(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)

    def forward(self, x):
        return x + self.narrow(torch.relu(self.wide(x)))


def block(kind: str, width: int, kernel: int) -> nn.Module:
    return Mix(width) if kind == "mix" else nn.Conv2d(width, width, kernel, padding=kernel // 2)


class Net(nn.Module):
    """Two kinds of block, one with a kernel size."""

    def __init__(self, a: dict) -> None:
        super().__init__()
        width = a["width"]
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        kernel = a["kernel"] if a["block"] == "conv" else 0
        self.body = nn.Sequential(*[block(a["block"], width, kernel) for _ in range(a["depth"])])
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def bound(build=Net, space=SPACE, **more):
    keys = {"architecture": space, "pruning": spaces.channel_pruning(), "bits": spaces.bit_widths()}
    return spaces.bind(keys, build=build, example_input=EXAMPLE, **more)


def sample(domain, rng):
    if isinstance(domain, dict):
        return {key: sample(value, rng) for key, value in domain.items()}
    return domain.sample(random_state=rng) if hasattr(domain, "sample") else domain


def test_what_the_function_does_not_read_is_inactive_and_not_in_the_canonical_form():
    space = bound()
    rest = {"width": 16, "depth": 2}
    for kind, kernel in (("conv", 3), ("conv", 5), ("mix", 3), ("mix", 5)):
        found = space.variant({"architecture": {"block": kind, "kernel": kernel, **rest}})
        architecture = found.config["architecture"]
        assert architecture == {"block": kind, **({"kernel": kernel} if kind == "conv" else {}), **rest}
        assert ("architecture/kernel" in found.active) == (kind == "conv")
        assert space.variant(found.config).key == found.key
    keys = {space.variant({"architecture": {"block": "mix", "kernel": k, **rest}}).key for k in (3, 5)}
    assert len(keys) == 1


def test_parts_are_the_top_level_children_and_their_groups_are_those_of_the_network():
    space = bound()
    assert space.own.known == ("stem", "body", "head")
    assert list(space.domains["pruning"]["ratios"]) == ["stem", "body"]
    assert list(space.domains["bits"]) == ["stem", "body", "head"]
    for config in (
        {"block": "mix", "width": 24, "depth": 3},
        {"block": "conv", "kernel": 5, "width": 8, "depth": 1},
    ):
        plan = space.variant({"architecture": config}).plan.architecture
        assert dict(plan.widths()) == prunable_groups(Net(config), EXAMPLE)


def test_a_ratio_of_a_part_without_a_group_is_inactive():
    space = bound()
    config = {
        "architecture": {"block": "conv", "kernel": 3, "width": 16, "depth": 1},
        "pruning": {"ratios": {"stem": 0.5, "body": 0.5}},
    }
    assert space.variant(config).plan.pruning is not None
    plain = {**config, "architecture": {**config["architecture"], "block": "mix"}}
    assert "pruning/ratios/body" in space.variant(plain).active


def test_draws_of_plain_tune_are_decoded_and_stay_what_they_are():
    space, rng = bound(), np.random.default_rng(0)
    for _ in range(20):
        found = space.variant(sample(space.domains, rng))
        assert space.variant(found.config).config == found.config
        network = found.plan.architecture
        assert Net(network.given)(EXAMPLE).shape == (2, 3)


def test_named_parts():
    space = bound(parts=("stem", "body.0", "body.1", "head"))
    assert space.own.known == ("stem", "body.0", "body.1", "head")
    shallow = {"block": "mix", "width": 16, "depth": 1}
    found = space.variant({"architecture": shallow, "pruning": {"ratios": {"body.0": 0.5, "body.1": 0.5}}})
    assert found.plan.pruning.ratios == {"body.0": 0.5}
    assert {n for n in found.active if n.startswith("pruning/ratios/body")} == {"pruning/ratios/body.0"}
    with pytest.raises(ValueError, match="parts has 'boddy', which no layer is in; did you mean 'body'"):
        bound(parts=("boddy",))


def test_parts_of_a_given_model():
    keys = {"pruning": spaces.channel_pruning(), "bits": spaces.bit_widths()}
    model = Net({"block": "mix", "width": 16, "depth": 3})
    space = spaces.bind(keys, model=model, example_input=EXAMPLE, parts=("stem", "body"))
    assert list(space.domains["pruning"]["ratios"]) == ["stem", "body"]
    assert list(space.domains["bits"]) == ["stem", "body"]
    assert space.variant({"pruning": {"ratios": {"body": 0.5}}}).plan.pruning.ratio("body.2.wide") == 0.5
    with pytest.raises(ValueError, match="parts has 'tail', which no layer is in; known: stem, body, head"):
        spaces.bind(keys, model=model, example_input=EXAMPLE, parts=("tail",))


def test_excluded_parts_are_left_out():
    space = bound(exclude=("stem",))
    assert space.own.known == ("body", "head")
    assert "stem" not in space.domains["pruning"]["ratios"]


def test_choices_among_mappings():
    def build(a):
        chosen = a["block"]
        return Net({**chosen, "width": a["width"], "depth": 1})

    block_of = tune.choice([{"block": "conv", "kernel": tune.choice([3, 5])}, {"block": "mix"}])
    space = bound(build, {"block": block_of, "width": tune.qrandint(8, 16, 8)})
    found = space.variant({"architecture": {"block": {"block": "mix"}, "width": 8}})
    assert found.config["architecture"] == {"block": {"one_of": "mix", "mix": {"block": "mix"}}, "width": 8}
    assert found.plan.architecture.given == {"block": {"block": "mix"}, "width": 8}
    assert "architecture/block/conv/kernel" not in found.active
    assert "architecture/block/one_of" in found.active


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda a: 3, "the model's function gives a int: let it give a torch module"),
        (
            lambda a: Net({**a, "depth": random.randint(1, 9)}),
            "makes another network of the same architecture",
        ),
        (lambda a: SHARED, "gives the same module twice"),
        (lambda a: Net({**a, "width": a["widht"]}), "making the model of .* fails: KeyError: 'widht'"),
        (lambda a: nn.Linear(a["width"], 2), "fails at the operator"),
    ],
)
def test_a_function_that_cannot_be_right_is_refused(build, message):
    random.seed(1)
    with pytest.raises(ValueError, match=message):
        bound(build)


def fails_when_deep(a):
    if a["depth"] == 3:
        raise RuntimeError("too deep")
    return Net(a)


def test_a_function_that_fails_at_an_end_of_the_space_warns_and_its_trials_fail_alone():
    with pytest.warns(UserWarning, match="some architectures do not work, .*too deep"):
        space = bound(fails_when_deep)
    config = {"block": "mix", "kernel": 3, "width": 8, "depth": 3}
    assert space.variant({"architecture": config}).config["architecture"] == config


def test_a_function_that_reads_values_of_tensors_is_decoded_on_the_cpu():
    def build(a):
        rates = torch.linspace(0, 0.1, a["depth"]).tolist()
        return Net({**a, "depth": len(rates)})

    assert bound(build).own.known == ("stem", "body", "head")


def test_decoding_leaves_torchs_generator_alone_and_is_remembered():
    family = own_family(opened(SPACE), Net)
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    config = {"block": "mix", "kernel": 3, "width": 8, "depth": 2}
    assert family.decode(config) is family.decode(dict(config))
    assert torch.equal(torch.rand(1), wanted)
    assert "_plans" not in pickle.loads(pickle.dumps(family)).__dict__


def test_a_larger_teacher_needs_a_family():
    keys = {"architecture": SPACE, "teacher": spaces.teachers("larger", None)}
    with pytest.raises(ValueError, match="one of raysearch's families"):
        spaces.bind(keys, build=Net)


def test_a_parent_without_an_architecture_is_the_middle_of_the_space():
    space = bound()
    middle = {"block": "conv", "kernel": 3, "width": 16, "depth": 2}
    assert space.settled({"training": {"lr": 0.1}})["architecture"] == middle
    given = {"architecture": {"block": "mix", "width": 8, "depth": 1}}
    assert space.settled(given) == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widht": 16}, "architecture has no key 'widht'; did you mean 'width'"),
        ({"block": {"one_of": "cov", "cov": {}}}, "architecture/block has no key 'cov'; did you mean 'conv'"),
    ],
)
def test_a_misspelt_config_is_refused(given, message):
    block_of = tune.choice([{"kind": "conv", "kernel": 3}, {"kind": "mix"}])
    space = bound(
        lambda a: Net({"block": a["block"]["kind"], "kernel": 3, "width": a["width"], "depth": 1}),
        {"block": block_of, "width": tune.qrandint(8, 16, 8)},
    )
    with pytest.raises(ValueError, match=message):
        space.completed({"architecture": given}, space.settled({}))


def test_numbers_of_either_type_are_one():
    space = bound(lambda a: Net({**a, "width": int(a["width"])}), {**SPACE, "width": tune.quniform(8, 32, 8)})
    rest = {"block": "mix", "kernel": 3, "depth": 2}
    keys = {space.variant({"architecture": {**rest, "width": width}}).key for width in (16, 16.0)}
    assert len(keys) == 1
    parent = {"architecture": {**rest, "width": 16}}
    assert len(space.design(parent)) == len(space.design(space.settled(parent)))


def test_a_function_that_counts_what_there_is_reads_it():
    def build(a):
        blocks = a["blocks"]
        layers = [nn.Linear(4, 4) for _ in range(len(blocks))]
        return nn.Sequential(nn.Linear(4, blocks["first"]), nn.Linear(blocks["first"], 4), *layers)

    blocks = {"first": tune.randint(2, 5), "second": 1, "third": tune.randint(1, 3)}
    space = spaces.bind({"architecture": {"blocks": blocks}}, build=build)
    found = space.variant({"architecture": {"blocks": {"first": 3, "second": 1, "third": 2}}})
    assert len(build(found.plan.architecture.given)) == 5
    assert space.variant(found.config).key == found.key


def test_names_of_families_are_a_users_own():
    def build(a):
        return Net({"block": "mix", "width": a["width"], "depth": 1 if a["family"] == "vit" else 2})

    space = bound(build, {"family": tune.choice(["vit", "plain"]), "width": tune.qrandint(8, 16, 8)})
    config = {"family": "vit", "width": 8}
    assert space.variant({"architecture": config}).config["architecture"] == config
    with pytest.raises(ValueError, match=r"has the key 'one_of', which names what .* and no 'a'"):
        bound(build, {"one_of": tune.choice(["a", "b"]), "width": 8})


def test_layers_without_a_size_are_refused():
    with pytest.raises(ValueError, match="reading the model's layers fails"):
        bound(lambda a: nn.Sequential(nn.Flatten(), nn.LazyLinear(a["width"])))


def test_the_function_is_not_called_again_for_what_it_does_not_read():
    calls = []

    def build(a):
        calls.append(1)
        return Net(a)

    space = bound(build)
    rest = {"block": "mix", "width": 24, "depth": 3}
    space.variant({"architecture": {**rest, "kernel": 3}})
    before = len(calls)
    space.variant({"architecture": {**rest, "kernel": 5}})
    assert len(calls) == before


def test_a_value_that_no_network_is_made_by_is_said():
    with pytest.warns(
        UserWarning, match="reads nothing of architecture/kernle, which therefore has no effect"
    ):
        bound(space={**SPACE, "kernle": tune.choice([3, 5])})


def test_layers_without_weights_are_compared_too():
    kinds = itertools.cycle([nn.ReLU, nn.Tanh])

    def build(a):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, a["width"]), next(kinds)())

    with pytest.raises(ValueError, match=r"another network of the same architecture .* a layer differs"):
        bound(build, {"width": tune.qrandint(8, 16, 8)})


def test_a_ready_family_has_parts_of_its_own():
    with pytest.raises(ValueError, match="and the architecture's family has its own: leave it out"):
        spaces.bind({"architecture": spaces.mlp()}, parts=("layer1",))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (lambda a: nn.Linear(a["width"], a["depth"]), r"gives outputs of shape \[\(1,\)\], and the middle"),
        (lambda a: nn.Linear(16, 3), "the layer 'head' .* fails at the operator 'linear'"),
    ],
)
def test_networks_that_do_not_run_or_not_alike_are_told_before_a_run(head, message):
    def build(a):
        net = Net(a)
        net.head = head(a)
        return net

    with pytest.warns(UserWarning, match=f"some architectures do not work, or not alike .*{message}"):
        bound(build)
