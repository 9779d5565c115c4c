import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from raysearch import search_spaces as spaces
from raysearch.search_spaces.domains import contains, ends, nested, searched
from raysearch.search_spaces.keys import SECTIONS

PARENT = {
    "architecture": {
        "family": "resnet",
        "stages": 3,
        "stem": {"width": 32},
        **{f"stage{i}": {"depth": 2, "width": 32, "kernel": 3, "block": "basic"} for i in (1, 2, 3)},
    },
    "training": {"lr": 2e-3, "batch_size": 32},
}
FULL = spaces.bind(
    {
        "architecture": spaces.resnet((2, 4), (1, 3), (8, 64), 8, (3, 5), ("basic", "plain", "separable")),
        "pruning": spaces.channel_pruning(criterion=("magnitude", "random")),
        "bits": spaces.bit_widths(),
        "teacher": spaces.teachers(None, "parent", "larger"),
        "training": {"lr": tune.loguniform(1e-4, 1e-2), "quantized_share": tune.uniform(0.2, 0.6)},
    },
    parent=PARENT,
)
SEEDS = st.integers(0, 2**31)


def sample(domains, seed):
    """The searched keys only, as a searcher sees them, drawn by Tune's own samplers."""
    random = np.random.default_rng(seed)
    return nested({path: d.sample(random_state=random) for path, d in searched(domains).items()})


@given(SEEDS)
def test_the_canonical_form_is_its_own_and_decodes_to_the_same_plan(seed):
    config = sample(FULL.domains, seed)
    canonical = FULL.canonical(config)
    assert FULL.canonical(canonical) == canonical
    assert json.loads(json.dumps(canonical)) == canonical
    assert FULL.decode(canonical) == FULL.decode(config)
    assert FULL.key(canonical) == FULL.key(config)
    assert set(canonical) <= set(SECTIONS)


@given(SEEDS, SEEDS)
def test_inactive_keys_never_change_the_canonical_form(seed, other):
    config, donor = sample(FULL.domains, seed), sample(FULL.domains, other)
    active = FULL.active(config)
    changed = json.loads(json.dumps(config))
    for path in searched(FULL.domains):
        if "/".join(path) not in active:
            put(changed, path, take(donor, path))
    assert FULL.canonical(changed) == FULL.canonical(config)
    assert FULL.active(changed) == active


@given(SEEDS, st.data())
def test_an_active_key_alone_can_change_the_canonical_form(seed, data):
    config = sample(FULL.domains, seed)
    names = sorted(
        n for n in FULL.active(config) if n.split("/")[0] in ("architecture", "teacher", "training")
    )
    path = tuple(data.draw(st.sampled_from(names)).split("/"))
    variants = []
    for value in ends(searched(FULL.domains)[path]):
        changed = json.loads(json.dumps(config))
        put(changed, path, value)
        variants.append(FULL.key(changed))
    assert len(set(variants)) > 1


@given(SEEDS)
def test_what_a_sampled_network_does_not_have_is_not_active(seed):
    config = sample(FULL.domains, seed)
    plan, active = FULL.decode(config), FULL.active(config)
    parts = plan.architecture.parts()
    assert {n.split("/")[1] for n in active if n.startswith("bits/")} == set(parts)
    assert {n.split("/")[2] for n in active if n.startswith("pruning/ratios")} == set(parts) - {"head"}
    assert ("teacher/temperature" in active) == plan.teacher.active
    assert ("training/quantized_share" in active) == plan.bits.quantized
    assert ("pruning/criterion" in active) == (plan.pruning is not None)


@given(st.integers(1, 4), st.sampled_from([8, 16, 24, 32, 64]), st.sampled_from(["basic", "separable"]))
def test_the_design_is_legal_and_distinct_from_the_parent(stages, width, block):
    parent = {
        "architecture": {
            "stages": stages,
            "stem": {"width": width},
            **{f"stage{i + 1}": {"depth": 1, "width": width, "block": block} for i in range(stages)},
        },
        "training": {"lr": 0.5},
    }
    design = FULL.design(parent)
    for config in design:
        for path, domain in searched(FULL.domains).items():
            assert contains(domain, take(config, path)), path
        assert FULL.decode(config).teacher.name == "none"
    keys = [FULL.key(config) for config in design]
    assert len({*keys, FULL.key(parent)}) == len(keys) + 1


def test_the_design_is_the_parent_at_8_bits_and_three_prunings():
    design = [FULL.decode(c) for c in FULL.design(PARENT)]
    assert [p.pruning and set(p.pruning.ratios.values()) for p in design] == [None, {0.25}, {0.5}, {0.75}]
    for plan in design:
        assert plan.architecture == FULL.decode(PARENT).architecture
        assert set(plan.bits.weights.values()) == set(plan.bits.activations.values()) == {8}
        assert plan.training.lr == pytest.approx(2e-3)


def test_the_parent_has_only_what_it_names():
    space = spaces.bind(
        {
            "bits": spaces.bit_widths((8,), (8,)),
            "teacher": {"name": "parent", "temperature": 2.0, "weight": 0.5},
            "pruning": {"ratios": {"stem": 0.5}},
            "training": {"lr": tune.loguniform(1e-4, 1e-2)},
        },
        parent=PARENT,
    )
    plan = space.decode(PARENT)
    assert (plan.pruning, plan.bits.quantized, plan.teacher.active) == (None, False, False)
    assert plan.training.batch_size == 32
    searched_config = space.decode(sample(space.domains, 0))
    assert searched_config.bits.quantized
    assert searched_config.teacher.temperature == 2
    assert searched_config.pruning.ratios == {"stem": 0.5}
    assert searched_config.training.batch_size == 32
    assert searched_config.architecture == plan.architecture


def test_a_space_over_a_model(model, example):
    space = spaces.bind(
        {"pruning": spaces.channel_pruning(0.5), "bits": spaces.bit_widths()},
        model=model,
        example_input=example,
    )
    assert space.groups == {"first": 16, "third": 24}
    assert list(space.domains["bits"]) == ["first", "second", "third", "head"]
    config = {"pruning": {"ratios": {"first": 0.45, "third": 0.1}}, "bits": {"third": {"weights": 4}}}
    canonical = space.canonical(config)
    assert canonical["pruning"] == {"criterion": "magnitude", "multiple": 8, "ratios": {"first": 0.5}}
    plan = space.decode(canonical)
    assert plan.architecture is None
    assert [plan.bits.layer(n) for n in ("first", "third", "head")] == [(32, 32), (4, 32), (4, 32)]


@pytest.mark.parametrize("activations", [8, (4, 8)])
def test_a_fixed_precision_reaches_every_layer_of_a_model(model, example, activations):
    space = spaces.bind({"bits": spaces.bit_widths(8, activations)}, model=model, example_input=example)
    for seed in range(10):
        plan = space.decode(sample(space.domains, seed))
        assert plan.bits.weights == dict.fromkeys(("first", "second", "third", "head"), 8)
        assert space.decode(space.canonical(sample(space.domains, seed))) == plan


def test_tune_and_optuna_sample_it(monkeypatch):
    _, config = next(generate_variants({"config": FULL.domains}, random_state=0))
    plan = FULL.decode(config["config"])
    assert FULL.decode(FULL.canonical(config["config"])) == plan
    monkeypatch.setitem(os.environ, "TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    optuna = pytest.importorskip("ray.tune.search.optuna")
    pytest.importorskip("optuna").logging.set_verbosity(40)
    search = optuna.OptunaSearch(space=FULL.domains, metric=["a", "b"], mode=["max", "min"], seed=0)
    for i in range(5):
        suggested = search.suggest(str(i))
        FULL.decode({s: suggested[s] for s in SECTIONS if s in suggested})
        search.on_trial_complete(str(i), {"a": 1.0, "b": float(i)})


def test_a_space_survives_pickling():
    config = sample(FULL.domains, 3)
    assert pickle.loads(pickle.dumps(FULL)).key(config) == FULL.key(config)


def test_one_vanished_stage_more_is_the_same_variant():
    config = sample(FULL.domains, 5)
    config["architecture"]["stages"] = 2
    key = FULL.key(config)
    config["architecture"]["stage4"]["width"] = 8
    config["pruning"]["ratios"]["stage3"] = 0.8
    config["bits"]["stage4"] = {"own": True, "weights": 2, "activations": 4}
    assert FULL.key(config) == key
    config["architecture"]["stages"] = 3
    assert FULL.key(config) != key


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
        ({"architecture": {"family": "vgg", "stem": {"width": 8}}}, "the only family is 'resnet'"),
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


def test_configs_with_unknown_keys_are_refused():
    with pytest.raises(ValueError, match="the config has no key 'trainig'"):
        FULL.decode({"trainig": {}})
    with pytest.raises(ValueError, match="architecture has no key 'stage9'"):
        FULL.decode({"architecture": {**PARENT["architecture"], "stage9": {}}})


def take(config, path):
    for key in path:
        config = config[key]
    return config


def put(config, path, value):
    take(config, path[:-1])[path[-1]] = value
