from __future__ import annotations

import numpy as np
import pytest

from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.novelty import Novelty

ENCODING = Encoding(
    [Parameter(("a",), "integer", 0, 3), Parameter(("b",), "categorical", choices=("x", "y"))]
)


def parity(config):
    """Only whether a is odd tells variants apart; b matters where it is."""
    odd = config["a"] % 2
    return f"{odd}{config['b'] if odd else ''}", {"a", "b"} if odd else {"a"}


def test_each_config_is_given_out_once():
    novelty = Novelty(ENCODING, None, ())
    assert novelty.take(ENCODING.cell(5)) == ENCODING.decode(ENCODING.cell(5))
    assert novelty.take(ENCODING.cell(5)) is None


def test_a_small_space_is_used_up_to_the_last_config():
    novelty, rng = Novelty(ENCODING, None, ()), np.random.default_rng(0)
    found = [novelty.random(rng) for _ in range(9)]
    assert len({repr(f[1]) for f in found[:8] if f}) == 8
    assert found[8] is None


def test_configs_of_the_same_key_count_once():
    novelty, rng = Novelty(ENCODING, parity, ()), np.random.default_rng(0)
    keys = {parity(found[1])[0] for found in iter(lambda: novelty.random(rng), None)}
    assert keys == {"0", "1x", "1y"}


def test_active_parameters_come_from_the_identity():
    vector = ENCODING.encode({"a": 2, "b": "x"})
    assert Novelty(ENCODING, parity, ()).active(vector).tolist() == [True, False]
    assert Novelty(ENCODING, None, ()).active(vector).tolist() == [True, True]


def test_initial_configs_come_first_without_repetition_and_filled_up():
    rng = np.random.default_rng(0)
    novelty = Novelty(ENCODING, None, [{"a": 1, "b": "y"}, {"a": 1, "b": "y"}, {"a": 3}])
    configs = [found[1] for found in iter(lambda: novelty.initial(rng), None)]
    assert configs[0] == {"a": 1, "b": "y"}
    assert configs[1]["a"] == 3
    assert len(configs) == 2


def test_an_initial_config_that_is_not_legal_is_refused_early():
    with pytest.raises(ValueError, match="b is 'z'"):
        Novelty(ENCODING, None, [{"a": 1, "b": "z"}])


def test_what_is_given_is_taken_twice_and_never_drawn():
    novelty, rng = Novelty(ENCODING, None, ()), np.random.default_rng(0)
    config = {"a": 2, "b": "y"}
    for _ in range(2):
        vector, taken = novelty.given(config)
        assert taken == config == ENCODING.decode(vector)
    drawn = [found[1] for found in iter(lambda: novelty.random(rng), None)]
    assert len(drawn) == 7
    assert config not in drawn


def test_an_initial_config_that_is_given_is_used_up_and_the_others_stay():
    rng = np.random.default_rng(0)
    novelty = Novelty(ENCODING, None, [{"a": 1, "b": "y"}, {"a": 3}, {"a": 0, "b": "x"}])
    novelty.given({"a": 3, "b": "y"})
    assert [found[1]["a"] for found in iter(lambda: novelty.initial(rng), None)] == [1, 0]


def test_a_given_config_counts_by_its_own_key_whatever_it_lacks():
    def by_number(config):
        return str(config["a"]), {"a"}

    novelty, rng = Novelty(ENCODING, by_number, ()), np.random.default_rng(0)
    novelty.given({"a": 2})
    assert {found[1]["a"] for found in iter(lambda: novelty.random(rng), None)} == {0, 1, 3}


def test_a_new_point_is_the_middle_of_its_cells():
    vector, config = Novelty(ENCODING, None, ()).random(np.random.default_rng(0))
    assert np.array_equal(vector, ENCODING.encode(config))


def test_an_initial_config_whose_numbers_are_rounded_is_used_up_when_it_is_given() -> None:
    """So that a resumed run, which gives what was suggested, draws as the uninterrupted one did."""
    encoding = Encoding((Parameter(("training", "lr"), "float", 1e-3, 1e-2, log=True),))
    initial = [{"training": {"lr": 10**-2.5}}]
    one, two = (Novelty(encoding, None, initial) for _ in range(2))
    found = one.initial(np.random.default_rng(0))
    assert found is not None
    assert found[1] != initial[0]
    two.given(found[1])
    assert one.state() == two.state() == {"left": [], "seen": one.state()["seen"]}
