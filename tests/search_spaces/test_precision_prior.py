"""Random draws of precision: mostly uniform, in bits that fit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ray import tune

from raysearch import search_spaces as spaces
from raysearch.search_spaces import domains
from raysearch.search_spaces.bit_widths import decode_bits, precision_prior
from raysearch.search_spaces.domains import Prior
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.tune import parameters_of

LAYERS = [f"layer{i}" for i in range(6)]


def draws(integers: frozenset[int], count: int = 400) -> list[dict[str, tuple[int, int]]]:
    space = {"bits": spaces.bit_widths((2, 4, 8, 16, 32), (4, 8, 16, 32), over=LAYERS)}
    encoding = Encoding(parameters_of(space, precision_prior(domains.read(space), integers)))
    rng = np.random.default_rng(0)
    plans = [decode_bits(encoding.decode(encoding.sample(rng))["bits"], LAYERS) for _ in range(count)]
    return [{layer: plan.layer(layer) for layer in LAYERS} for plan in plans]


def test_precision_is_mostly_the_same_along_the_network() -> None:
    distinct = Counter(len(set(plan.values())) for plan in draws(frozenset({2, 4, 8})))
    assert distinct[1] > 200
    assert set(distinct) > {1, 2}  # and not always


@pytest.mark.parametrize(
    ("integers", "fits"),
    [
        (frozenset({2, 4, 8}), lambda w, a: (w <= 8) == (a <= 8)),
        (frozenset({8}), lambda w, a: a == 8 if w == 8 else a >= 16),
        (frozenset(), lambda w, a: a >= 16),
    ],
)
def test_pairs_are_those_that_a_target_computes_in(integers: frozenset[int], fits: object) -> None:
    pairs = {pair for plan in draws(integers) for pair in plan.values()}
    assert all(fits(w, a) for w, a in pairs)  # type: ignore[operator]
    assert {w for w, _ in pairs} == {2, 4, 8, 16, 32}


def test_odds_are_the_shares_of_draws() -> None:
    x = Parameter(("x",), "categorical", choices=("a", "b", "c"), prior=Prior(odds=(1, 0, 3)))
    y = Parameter(("y",), "integer", 0, 9)
    encoding, rng = Encoding([x, y]), np.random.default_rng(0)
    drawn = encoding.drawn(rng.random((4000, 2)))
    counts = Counter(encoding.decode(v)["x"] for v in drawn)
    assert counts["b"] == 0
    assert counts["c"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert drawn[:, 1].std() == pytest.approx(12**-0.5, rel=0.05)


def test_what_has_no_prior_is_drawn_as_ever() -> None:
    encoding = Encoding([Parameter(("x",), "categorical", choices=("a", "b"))])
    assert encoding.sample(np.random.default_rng(3)) == np.random.default_rng(3).random(1)


def test_a_partner_stands_before() -> None:
    late = Parameter(("x",), "categorical", choices=(1, 2), prior=Prior(partner=("y",), fitting=((1, (2,)),)))
    with pytest.raises(ValueError, match="x depends on y, which must stand before it"):
        Encoding([late, Parameter(("y",), "categorical", choices=(1, 2))])


def test_a_space_written_by_hand_may_have_any_order() -> None:
    own = {"own": tune.choice([True, False])}
    bits = {"activations": tune.choice([8, 32]), "weights": tune.choice([4, 8, 32])}
    space = {"bits": {"first": bits, **{layer: {**own, **bits} for layer in LAYERS[1:]}}}
    priors = precision_prior(domains.read(space), frozenset({4, 8}))
    encoding = Encoding(parameters_of(space, priors))
    rng = np.random.default_rng(0)
    drawn = [encoding.decode(encoding.sample(rng))["bits"] for _ in range(400)]
    owning = np.mean([config[layer]["own"] for config in drawn for layer in LAYERS[1:]])
    assert owning < 0.35  # runs of equal precision, however the choices are listed
