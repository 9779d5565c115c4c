import json
import os
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune
from ray.tune.search.sample import Domain
from ray.tune.search.variant_generator import generate_variants

from raysearch import search_spaces as spaces
from raysearch.search_spaces.domains import contains
from raysearch.search_spaces.keys import SECTIONS
from raysearch.search_spaces.space import Space

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
    return drawn(domains, np.random.default_rng(seed))


def drawn(space, random):
    found = {}
    for key, value in space.items():
        if isinstance(value, Domain):
            found[key] = value.sample(random_state=random)
        elif isinstance(value, dict) and (inner := drawn(value, random)):
            found[key] = inner
    return found


@given(SEEDS)
def test_the_canonical_form_is_its_own_and_decodes_to_the_same_plan(seed):
    config = sample(FULL.domains, seed)
    canonical = FULL.variant(config).config
    assert FULL.variant(canonical).config == canonical
    assert json.loads(json.dumps(canonical)) == canonical
    assert FULL.variant(canonical).plan == FULL.variant(config).plan
    assert FULL.variant(canonical).key == FULL.variant(config).key
    assert set(canonical) <= set(SECTIONS)


@given(SEEDS)
def test_a_canonical_config_that_is_completed_is_the_same_variant(seed):
    variant = FULL.variant(sample(FULL.domains, seed))
    assert FULL.variant(FULL.completed(variant.config, PARENT)).key == variant.key


def test_what_a_config_leaves_out_is_the_parents():
    config = FULL.completed({"bits": {"stage1": {"weights": 4}}, "training": {"lr": 1e-3}}, PARENT)
    plan = FULL.variant(config).plan
    assert plan.bits.weights == {"stem": 32, "stage1": 4, "stage2": 32, "stage3": 32, "head": 32}
    assert set(plan.bits.activations.values()) == {32}
    assert plan.architecture == FULL.variant(PARENT).plan.architecture
    assert (plan.pruning, plan.teacher.active, plan.training.lr) == (None, False, 1e-3)


@given(SEEDS, SEEDS)
def test_inactive_keys_never_change_the_canonical_form(seed, other):
    config, donor = sample(FULL.domains, seed), sample(FULL.domains, other)
    active = FULL.variant(config).active
    changed = json.loads(json.dumps(config))
    for path in FULL.searched:
        if "/".join(path) not in active:
            put(changed, path, take(donor, path))
    assert FULL.variant(changed).config == FULL.variant(config).config
    assert FULL.variant(changed).active == active


@given(SEEDS, st.data())
def test_an_active_key_alone_can_change_the_canonical_form(seed, data):
    config = sample(FULL.domains, seed)
    names = sorted(
        n for n in FULL.variant(config).active if n.split("/")[0] in ("architecture", "teacher", "training")
    )
    path = tuple(data.draw(st.sampled_from(names)).split("/"))
    variants = []
    for value in FULL.searched[path].ends():
        changed = json.loads(json.dumps(config))
        put(changed, path, value)
        variants.append(FULL.variant(changed).key)
    assert len(set(variants)) > 1


@given(SEEDS)
def test_what_a_sampled_network_does_not_have_is_not_active(seed):
    config = sample(FULL.domains, seed)
    plan, active = FULL.variant(config).plan, FULL.variant(config).active
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
        for path, values in FULL.searched.items():
            assert contains(values, take(config, path)), path
        assert FULL.variant(config).plan.teacher.name == "none"
    keys = [FULL.variant(config).key for config in design]
    assert len({*keys, FULL.variant(parent).key}) == len(keys) + 1


def test_the_design_is_the_parent_at_8_bits_and_three_prunings():
    design = [FULL.variant(c).plan for c in FULL.design(PARENT)]
    assert [p.pruning and set(p.pruning.ratios.values()) for p in design] == [None, {0.25}, {0.5}, {0.75}]
    for plan in design:
        assert plan.architecture == FULL.variant(PARENT).plan.architecture
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
    plan = space.variant(PARENT).plan
    assert (plan.pruning, plan.bits.quantized, plan.teacher.active) == (None, False, False)
    assert plan.training.batch_size == 32
    searched_config = space.variant(sample(space.domains, 0)).plan
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
    canonical = space.variant(config).config
    assert canonical["pruning"] == {"criterion": "magnitude", "multiple": 8, "ratios": {"first": 0.5}}
    plan = space.variant(canonical).plan
    assert plan.architecture is None
    assert [plan.bits.layer(n) for n in ("first", "third", "head")] == [(32, 32), (4, 32), (4, 32)]


@pytest.mark.parametrize("activations", [8, (4, 8)])
def test_a_fixed_precision_reaches_every_layer_of_a_model(model, example, activations):
    space = spaces.bind({"bits": spaces.bit_widths(8, activations)}, model=model, example_input=example)
    for seed in range(10):
        plan = space.variant(sample(space.domains, seed)).plan
        assert plan.bits.weights == dict.fromkeys(("first", "second", "third", "head"), 8)
        assert space.variant(space.variant(sample(space.domains, seed)).config).plan == plan


def test_tune_and_optuna_sample_it(monkeypatch):
    _, config = next(generate_variants({"config": FULL.domains}, random_state=0))
    plan = FULL.variant(config["config"]).plan
    assert FULL.variant(FULL.variant(config["config"]).config).plan == plan
    monkeypatch.setitem(os.environ, "TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    optuna = pytest.importorskip("ray.tune.search.optuna")
    pytest.importorskip("optuna").logging.set_verbosity(40)
    search = optuna.OptunaSearch(space=FULL.domains, metric=["a", "b"], mode=["max", "min"], seed=0)
    for i in range(5):
        suggested = search.suggest(str(i))
        FULL.variant({s: suggested[s] for s in SECTIONS if s in suggested})
        search.on_trial_complete(str(i), {"a": 1.0, "b": float(i)})


def test_a_space_survives_pickling_and_takes_along_nothing_that_it_remembers():
    config = sample(FULL.domains, 3)
    FULL.variant(config)
    kept = {"domains", "groups", "layers", "multiple", "names", "own"}
    assert set(pickle.loads(pickle.dumps(FULL)).__dict__) == kept
    assert pickle.loads(pickle.dumps(FULL)).variant(config).key == FULL.variant(config).key


def test_one_vanished_stage_more_is_the_same_variant():
    config = sample(FULL.domains, 5)
    config["architecture"]["stages"] = 2
    key = FULL.variant(config).key
    config["architecture"]["stage4"]["width"] = 8
    config["pruning"]["ratios"]["stage3"] = 0.8
    config["bits"]["stage4"] = {"own": True, "weights": 2, "activations": 4}
    assert FULL.variant(config).key == key
    config["architecture"]["stages"] = 3
    assert FULL.variant(config).key != key


def test_configs_with_unknown_keys_are_refused():
    with pytest.raises(ValueError, match="the config has no key 'trainig'"):
        FULL.variant({"trainig": {}})
    with pytest.raises(ValueError, match="architecture has no key 'stage9'"):
        FULL.variant({"architecture": {**PARENT["architecture"], "stage9": {}}})


def take(config, path):
    for key in path:
        config = config[key]
    return config


def put(config, path, value):
    take(config, path[:-1])[path[-1]] = value


def test_a_variant_is_worked_out_once_and_forgotten_in_time(monkeypatch):
    space = spaces.bind({"training": {"lr": tune.uniform(0.1, 1.0)}})
    count = Counter()
    original = Space._variant

    def counted(self, config):
        count[config["training"]["lr"]] += 1
        return original(self, config)

    monkeypatch.setattr(Space, "_variant", counted)
    monkeypatch.setattr("raysearch.search_spaces.space._REMEMBERED", 3)
    for lr in (0.2, 0.2, 0.3, 0.4, 0.2, 0.6, 0.2):
        assert space.variant({"training": {"lr": lr}}).plan.training.lr == lr
    assert count == {0.2: 2, 0.3: 1, 0.4: 1, 0.6: 1}
    assert len(space._variants) == 3


def test_equal_values_of_two_types_are_not_taken_for_one_another():
    space = spaces.bind({"training": {"batch_size": tune.choice([1, 2])}})
    assert space.variant({"training": {"batch_size": 1}}).plan.training.batch_size == 1
    with pytest.raises(ValueError, match="batch_size"):
        space.variant({"training": {"batch_size": True}})


def test_numbers_are_told_apart_to_twelve_digits() -> None:
    space = spaces.bind({"training": {"lr": tune.loguniform(1e-3, 1e-2)}}, parent=PARENT)
    exact = 10**-2.5
    keys = [space.variant({"training": {"lr": lr}}).key for lr in (exact, float(f"{exact:.12g}"), 0.00317)]
    assert keys[0] == keys[1] != keys[2]
