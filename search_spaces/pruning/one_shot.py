"""One-shot compression of a trained network in seven variables: what is pruned, how, and quantisation.

Linear and convolutional layers are pruned each in their own way, all layers of a kind by the same share.

References:
    Ferreira, T. A. E., et al. Surrogate-based constrained multi-objective optimisation for the compression of
        CNNs. (x1, x3, x5: "linear"; x2, x4, x6: "convolutional"; x7: "quantization")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.search_spaces.keys import as_mapping, check_keys

PRUNED = ("nothing", "weights", "weights_and_biases")
CRITERIA = ("random", "l1_unstructured", "l2_structured")
QUANTIZATIONS = ("none", "dynamic")
KINDS = ("linear", "convolutional")
_KEYS = ("pruned", "amount", "criterion")


@dataclass(frozen=True)
class LayerPruning:
    """How all layers of one kind are pruned.

    Args:
        pruned: "nothing", "weights" or "weights_and_biases".
        amount: share of each layer that becomes zero, in [0, 1].
        criterion: "random" (single weights), "l1_unstructured" (the smallest single weights) or
            "l2_structured" (whole channels, those of the smallest norm).

    Raises:
        ValueError: a value is not one of these.
    """

    pruned: str = "nothing"
    amount: float = 0.0
    criterion: str = "random"

    def __post_init__(self) -> None:
        for name, known in (("pruned", PRUNED), ("criterion", CRITERIA)):
            if getattr(self, name) not in known:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; {did_you_mean(getattr(self, name), known)}"
                )
        if (
            isinstance(self.amount, bool)
            or not isinstance(self.amount, (int, float))
            or not 0 <= self.amount <= 1
        ):
            raise UserError(f"amount is {self.amount!r}: it must be a share in [0, 1]")


@dataclass(frozen=True)
class OneShotPlan:
    """How a trained network is compressed without further training.

    Args:
        linear: pruning of its linear layers.
        convolutional: pruning of its convolutions.
        quantization: "none", or "dynamic": int8 linear layers whose inputs are scaled as they come.

    Raises:
        ValueError: an unknown quantisation.
    """

    linear: LayerPruning = LayerPruning()
    convolutional: LayerPruning = LayerPruning()
    quantization: str = "none"

    def __post_init__(self) -> None:
        if self.quantization not in QUANTIZATIONS:
            raise UserError(
                f"quantization is {self.quantization!r}; {did_you_mean(self.quantization, QUANTIZATIONS)}"
            )


def one_shot() -> dict[str, Any]:
    """The seven variables as Tune domains, ready as a ``param_space``; ``decode_one_shot`` reads a draw."""
    from ray import tune

    space: dict[str, Any] = {
        kind: {
            "pruned": tune.choice(list(PRUNED)),
            "amount": tune.uniform(0.0, 1.0),
            "criterion": tune.choice(list(CRITERIA)),
        }
        for kind in KINDS
    }
    return {**space, "quantization": tune.choice(list(QUANTIZATIONS))}


def decode_one_shot(config: Mapping[str, Any]) -> OneShotPlan:
    """The plan of a config, without what has no effect; an absent key prunes or quantises nothing.

    Raises:
        ValueError: an unknown key (with the nearest known one) or a value out of range.
    """
    check_keys(config, (*KINDS, "quantization"), "one-shot config")
    layers = {kind: _layers(config.get(kind, {}), kind) for kind in KINDS}
    return OneShotPlan(**layers, quantization=config.get("quantization", "none"))


def one_shot_identity(config: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """The key of the variant that a config means, and the names of the variables that matter in it."""
    plan = decode_one_shot(config)
    active = ["quantization"]
    for kind in KINDS:
        pruned = getattr(plan, kind).pruned != "nothing"
        active += [f"{kind}/{key}" for key in (_KEYS if pruned else _KEYS[:1])]
    # The repr of a frozen dataclass names every field with its exact value.
    return repr(plan), frozenset(active)


def _layers(config: Any, kind: str) -> LayerPruning:
    values = as_mapping(config, kind)
    check_keys(values, _KEYS, kind)
    layers = LayerPruning(**values)
    return LayerPruning() if layers.pruned == "nothing" else layers
