import random

import pytest

from raysearch.search_spaces.pruning.one_shot import (
    LayerPruning,
    OneShotPlan,
    decode_one_shot,
    one_shot,
    one_shot_identity,
)
from raysearch.searchers.encoding import Encoding
from raysearch.searchers.tune import parameters_of


def drawn(seed):
    random.seed(seed)
    return {
        kind: {key: domain.sample() for key, domain in part.items()}
        if isinstance(part, dict)
        else part.sample()
        for kind, part in one_shot().items()
    }


def test_seven_variables():
    assert [str(p) for p in parameters_of(one_shot())] == [
        "linear/pruned",
        "linear/amount",
        "linear/criterion",
        "convolutional/pruned",
        "convolutional/amount",
        "convolutional/criterion",
        "quantization",
    ]


def test_whatever_tune_draws_decodes():
    plans = [decode_one_shot(drawn(seed)) for seed in range(60)]
    assert {p.linear.pruned for p in plans} == {"nothing", "weights", "weights_and_biases"}
    assert {p.quantization for p in plans} == {"none", "dynamic"}


def test_what_has_no_effect_is_dropped():
    config = {
        "linear": {"pruned": "nothing", "amount": 0.4, "criterion": "l2_structured"},
        "convolutional": {"pruned": "weights", "amount": 0.7, "criterion": "l1_unstructured"},
        "quantization": "dynamic",
    }
    plan = decode_one_shot(config)
    assert plan == OneShotPlan(LayerPruning(), LayerPruning("weights", 0.7, "l1_unstructured"), "dynamic")
    key, active = one_shot_identity(config)
    assert active == {
        "linear/pruned",
        "convolutional/pruned",
        "convolutional/amount",
        "convolutional/criterion",
        "quantization",
    }
    same = {**config, "linear": {"pruned": "nothing", "amount": 0.9, "criterion": "random"}}
    assert one_shot_identity(same)[0] == key
    other = {**config, "convolutional": {**config["convolutional"], "amount": 0.7000001}}
    assert one_shot_identity(other)[0] != key


def test_active_names_are_those_of_the_encoding():
    names = set(Encoding(parameters_of(one_shot())).names)
    assert all(one_shot_identity(drawn(seed))[1] <= names for seed in range(20))
    everything = {
        kind: {"pruned": "weights", "amount": 0.5, "criterion": "random"}
        for kind in ("linear", "convolutional")
    }
    assert one_shot_identity({**everything, "quantization": "none"})[1] == names


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"convolution": {}}, "convolution.*convolutional"),
        ({"linear": {"amounts": 0.5}}, "amounts.*amount"),
        ({"linear": {"pruned": "weight"}}, "pruned is 'weight'.*weights"),
        ({"linear": {"pruned": "weights", "amount": 1.5}}, "amount is 1.5"),
        ({"linear": {"pruned": "weights", "amount": "all"}}, "amount is 'all'"),
        ({"linear": {"pruned": "weights", "criterion": "l1"}}, "criterion is 'l1'"),
        ({"quantization": "static"}, "quantization is 'static'"),
        ({"linear": 0.5}, "linear is 0.5"),
    ],
)
def test_bad_configs_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        decode_one_shot(config)
