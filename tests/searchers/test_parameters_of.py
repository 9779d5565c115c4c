from __future__ import annotations

import pytest
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.tune import parameters_of

SPACE = {
    "net": {
        "block": tune.choice(["basic", (3, 4)]),
        "family": "resnet",
        "deep": {"width": tune.qrandint(8, 64, 8)},
    },
    "depth": tune.randint(1, 4),
    "ratio": tune.quniform(0, 0.8, 0.05),
    "lr": tune.loguniform(1e-4, 1e-2),
    "decay": tune.qloguniform(1e-4, 1e-2, 1e-4),
    "momentum": tune.uniform(0.5, 1),
    "batch": tune.lograndint(16, 257),
    "units": tune.qlograndint(8, 64, 8),
    "epochs": 9,
}


def test_every_domain_is_translated():
    found = {str(p): p for p in parameters_of(SPACE)}
    expected = [
        Parameter(("net", "block"), "categorical", choices=("basic", (3, 4))),
        Parameter(("net", "deep", "width"), "integer", 8, 64, step=8),
        Parameter(("depth",), "integer", 1, 3),
        Parameter(("ratio",), "float", 0, 0.8, step=0.05),
        Parameter(("lr",), "float", 1e-4, 1e-2, log=True),
        Parameter(("decay",), "float", 1e-4, 1e-2, log=True, step=1e-4),
        Parameter(("momentum",), "float", 0.5, 1),
        Parameter(("batch",), "integer", 16, 256, log=True),
        Parameter(("units",), "integer", 8, 64, log=True, step=8),
    ]
    assert found == {str(p): p for p in expected}


def test_what_tune_samples_is_legal():
    encoding = Encoding(parameters_of(SPACE))
    for _ in range(50):
        _, config = next(generate_variants(SPACE))
        again = encoding.decode(encoding.encode(config))
        assert again["net"]["block"] == config["net"]["block"]
        assert again["net"]["deep"] == config["net"]["deep"]
        assert again["depth"] == config["depth"]
        assert again["ratio"] == pytest.approx(config["ratio"])


def test_bounds_off_the_grid_are_drawn_in():
    (parameter,) = parameters_of({"x": tune.qrandint(3, 20, 8)})
    assert (parameter.low, parameter.high) == (8, 16)


def test_constants_only_are_no_parameters():
    assert parameters_of({"a": 1, "b": {"c": [1, 2]}}) == ()


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(ValueError, match="a/b is a grid or a function"):
        parameters_of({"a": {"b": tune.grid_search([1, 2])}, "c": tune.uniform(0, 1)})
