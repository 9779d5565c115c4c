import json

import pytest
from ray import tune
from trial_setup import EIGHT_BITS, PARENT

from raysearch import search_spaces as spaces
from raysearch.search_spaces import TrainingPlan
from raysearch.search_spaces.training import decode_training, encode_training, factor_of

# All settings that came after 0.1.0's six, each away from its default.
CHANGED = {
    "optimizer": "sgd",
    "momentum": 0.8,
    "schedule": "onecycle",
    "warmup": 0.3,
    "clip_norm": 1.0,
    "accumulate": 2,
    "precision": "bf16",
    "checkpointing": True,
    "ema": 0.99,
    "mixup": 0.2,
    "layer_lr": {"head": 2.0},
}


def test_absent_keys_take_their_defaults():
    assert decode_training({}, quantized=True) == TrainingPlan()
    plan = decode_training({"lr": 1, "batch_size": 32.0}, quantized=True)
    assert (plan.lr, plan.batch_size) == (1.0, 32)
    assert isinstance(plan.batch_size, int)


def test_settings_of_the_quantised_part_need_quantised_layers():
    plan = decode_training({"quantized_share": 0.5, "lr": 0.1}, quantized=False)
    assert plan == TrainingPlan(lr=0.1)
    assert "quantized_share" not in encode_training(plan, quantized=False)
    assert decode_training(encode_training(plan, quantized=True), quantized=True) == plan


def test_settings_at_their_defaults_change_no_variant_of_before():
    space = spaces.bind({"bits": {}, "training": {"lr": tune.loguniform(1e-4, 1e-1)}}, parent=PARENT)
    assert space.variant(PARENT).key == "15d83803f1243717"
    variant = space.variant(EIGHT_BITS)
    assert variant.key == "79495e219c41cb1c"
    assert json.dumps(variant.config["training"]) == (
        '{"lr": 0.003, "batch_size": 64, "weight_decay": 0.01, "label_smoothing": 0.0, '
        '"quantized_share": 0.3333333333333333, "quantized_lr": 0.1}'
    )
    said = {key: getattr(TrainingPlan(), key) for key in CHANGED}
    assert space.variant({**PARENT, "training": {**PARENT["training"], **said}}).key == "15d83803f1243717"


def test_every_setting_away_from_its_default_is_said_and_comes_back():
    plan = decode_training(CHANGED, quantized=True)
    encoded = encode_training(plan, quantized=True)
    assert {key: encoded[key] for key in CHANGED} == CHANGED
    assert decode_training(json.loads(json.dumps(encoded)), quantized=True) == plan
    keys = {spaces.bind({"training": {k: v}}, parent=PARENT).variant(PARENT).key for k, v in CHANGED.items()}
    assert len(keys) == len(CHANGED)  # momentum alone, with AdamW, is the parent itself


def test_momentum_matters_with_sgd_alone():
    training = {"optimizer": tune.choice(["adamw", "sgd"]), "momentum": tune.uniform(0, 0.99)}
    space = spaces.bind({"training": training}, parent=PARENT)
    adam, sgd = (space.variant({"training": {"optimizer": o, "momentum": 0.5}}) for o in ("adamw", "sgd"))
    assert adam.active == {"training/optimizer"}
    assert sgd.active == {"training/optimizer", "training/momentum"}
    assert adam.key == space.variant({"training": {"optimizer": "adamw", "momentum": 0.1}}).key
    assert (adam.plan.training.momentum, sgd.plan.training.momentum) == (0.9, 0.5)


def test_rates_by_layer_are_those_of_the_innermost_part_and_said_once(model, example):
    factors = {"a": 0.1, "a.0": 0.5}
    assert [factor_of(name, factors) for name in ("a.0.weight", "a.1.weight", "a", "b")] == [0.5, 0.1, 0.1, 1]
    rates = {"first": tune.choice([0.0, 0.5, 1.0]), "first.weight": 0.5}
    space = spaces.bind({"training": {"layer_lr": rates}}, model=model, example_input=example)
    found = {f: space.variant({"training": {"layer_lr": {"first": f}}}) for f in (0.0, 0.5, 1.0)}
    said = {f: v.config["training"].get("layer_lr") for f, v in found.items()}
    assert said == {0.0: {"first": 0.0, "first.weight": 0.5}, 0.5: {"first": 0.5}, 1.0: {"first.weight": 0.5}}
    assert found[0.5].active == {"training/layer_lr/first"}
    assert all(space.variant(v.config).config == v.config for v in found.values())


def test_rates_of_stages_that_a_network_does_not_have_say_nothing():
    architecture = spaces.resnet(stages=(1, 2), depth=1, width=8)
    rates = {"stage2": tune.uniform(0.1, 1), "head": 2}
    space = spaces.bind({"architecture": architecture, "training": {"layer_lr": rates}})
    base = {"stem": {"width": 8}, "stage1": {"depth": 1, "width": 8}, "stage2": {"depth": 1, "width": 8}}
    one, two = (
        space.variant({"architecture": {"stages": n, **base}, "training": {"layer_lr": {"stage2": 0.5}}})
        for n in (1, 2)
    )
    assert one.config["training"]["layer_lr"] == {"head": 2.0}
    assert two.config["training"]["layer_lr"] == {"stage2": 0.5, "head": 2.0}
    assert "training/layer_lr/stage2" in two.active - one.active


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"secnd": 0.1}, r"training/layer_lr has no key 'secnd'; did you mean 'second'\?"),
        ({"first": tune.uniform(-1, 1)}, "training/layer_lr/first is -1.0: it must be finite, at least 0"),
        ({"first": "slow"}, "training/layer_lr/first is 'slow', not a number"),
        (0.1, "training/layer_lr is 0.1, not a mapping of names"),
    ],
)
def test_rates_of_unknown_layers_and_no_rates_are_refused(model, example, rates, message):
    with pytest.raises(ValueError, match=message):
        spaces.bind({"training": {"layer_lr": rates}}, model=model, example_input=example)


@pytest.mark.parametrize("name", ["stage7", "stemm"])
def test_rates_of_stages_that_no_network_has_are_refused(name):
    space = {"architecture": spaces.resnet(stages=(1, 2)), "training": {"layer_lr": {name: 0.5}}}
    with pytest.raises(ValueError, match=f"training/layer_lr has no key '{name}'"):
        spaces.bind(space)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rate": 1}, "training has no key 'learning_rate'"),
        ({"batchsize": 1}, "did you mean 'batch_size'"),
        ({"lr": 0}, "training/lr is 0"),
        ({"lr": True}, "training/lr is True, not a number"),
        ({"batch_size": 0}, "training/batch_size is 0"),
        ({"weight_decay": -1}, "training/weight_decay is -1"),
        ({"label_smoothing": 1}, "training/label_smoothing is 1"),
        ({"quantized_share": 0}, "training/quantized_share is 0"),
        (
            {"optimizer": "adam"},
            r"training/optimizer is 'adam'; did you mean 'adamw'\? \(known: adamw, sgd\)",
        ),
        ({"optimizer": 1}, "training/optimizer is 1; known: adamw, sgd"),
        ({"momentum": 1}, r"training/momentum is 1.0, not in \[0, 1\)"),
        ({"schedule": "step"}, "training/schedule is 'step'; known: cosine, onecycle, constant"),
        ({"warmup": 5}, r"training/warmup is 5.0, not in \[0, 1\): give a share of the epochs"),
        ({"clip_norm": -1}, "training/clip_norm is -1.0: it must be finite, at least 0"),
        ({"accumulate": 0}, "training/accumulate is 0: it must be at least 1"),
        ({"accumulate": 1.5}, "training/accumulate is 1.5, not a whole number"),
        ({"precision": "float16"}, "training/precision is 'float16'"),
        ({"precision": ["bf16"]}, r"training/precision is \['bf16'\]; did you mean 'bf16'"),
        ({"checkpointing": 1}, "training/checkpointing is 1: give true or false"),
        ({"ema": 1}, r"training/ema is 1.0, not in \[0, 1\)"),
        ({"mixup": float("inf")}, "training/mixup is inf: it must be finite"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(ValueError, match=message):
        decode_training(config, quantized=True)
