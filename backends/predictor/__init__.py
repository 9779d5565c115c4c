"""Costs of models on a device (latency, energy, memory), predicted from at most some twenty measured.

``features(operators_of(path))`` are a model file's features; ``most_informative`` says which models to
measure, ``fit`` makes a predictor of what was measured. Pure: no clock, no random draw that is not fixed,
and no file but the model's that is read.
"""

from raysearch.backends.predictor.design import most_informative
from raysearch.backends.predictor.onnx_file import operators_of
from raysearch.backends.predictor.operators import Operator, features, products
from raysearch.backends.predictor.predictor import Prediction, Predictor, fit, from_state

__all__ = [
    "Operator",
    "Prediction",
    "Predictor",
    "features",
    "fit",
    "from_state",
    "most_informative",
    "operators_of",
    "products",
]
