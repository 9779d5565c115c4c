from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raysearch.searchers.encoding import Encoding, Parameter

UNIT = st.floats(0, 1)
CHOICES = st.lists(
    st.one_of(
        st.integers(-3, 3), st.booleans(), st.text(max_size=3), st.tuples(st.integers(), st.integers())
    ),
    min_size=1,
    max_size=6,
    unique_by=repr,
).filter(lambda choices: len({(type(c), c) for c in choices}) == len(choices))


@st.composite
def parameters(draw: st.DrawFn, name: tuple[str, ...] = ("x",)) -> Parameter:
    kind = draw(st.sampled_from(["categorical", "integer", "float", "grid"]))
    if kind == "categorical":
        return Parameter(name, "categorical", choices=tuple(draw(CHOICES)))
    log = draw(st.booleans())
    if kind == "integer":
        low = draw(st.integers(1 if log else -50, 50))
        step = draw(st.sampled_from([1, 2, 8]))
        return Parameter(name, "integer", low, low + step * draw(st.integers(0, 40)), log, step)
    if kind == "grid":
        step = draw(st.sampled_from([0.05, 0.1, 0.25, 1e-4]))
        low = step * draw(st.integers(1 if log else -20, 20))
        return Parameter(name, "float", low, low + step * draw(st.integers(0, 40)), log, step)
    low = draw(st.floats(1e-6, 10) if log else st.floats(-1e3, 1e3))
    return Parameter(name, "float", low, low + draw(st.floats(1e-3, 1e3)), log)


@given(parameters(), UNIT)
def test_a_decoded_value_is_legal_and_encodes_back(parameter, x):
    value = parameter.decode(x)
    if parameter.kind == "categorical":
        assert any(value == c and type(value) is type(c) for c in parameter.choices)
    else:
        assert parameter.low - 1e-9 <= value <= parameter.high + 1e-9
        assert isinstance(value, int if parameter.kind == "integer" else float)
    again = parameter.decode(parameter.encode(value))
    if math.isinf(parameter.cells):
        assert again == pytest.approx(value, rel=1e-9, abs=1e-9)
    else:
        assert again == value
        assert type(again) is type(value)


@given(parameters())
def test_every_cell_is_reached_from_its_middle(parameter):
    assume(not math.isinf(parameter.cells))
    values = [parameter.decode(parameter.middle(cell)) for cell in range(int(parameter.cells))]
    assert len({(type(v), v) for v in values}) == parameter.cells
    assert {repr(parameter.decode(0.0)), repr(parameter.decode(1.0))} <= {repr(v) for v in values}


@given(parameters(), UNIT, UNIT)
def test_numbers_keep_their_order(parameter, x, y):
    assume(parameter.kind != "categorical")
    low, high = sorted((x, y))
    assert parameter.decode(low) <= parameter.decode(high)


@given(parameters(), st.floats(allow_nan=False))
def test_a_coordinate_outside_is_clipped(parameter, x):
    assert parameter.decode(x) == parameter.decode(min(max(x, 0.0), 1.0))


def test_integers_are_drawn_evenly():
    parameter = Parameter(("x",), "integer", 1, 4)
    assert [parameter.decode(x) for x in (0.0, 0.24, 0.26, 0.51, 0.74, 0.76, 1.0)] == [1, 1, 2, 3, 3, 4, 4]


def test_logarithms_are_drawn_evenly():
    parameter = Parameter(("x",), "float", 1e-4, 1e-2, log=True)
    assert parameter.decode(0.5) == pytest.approx(1e-3)


def test_steps_are_clean_numbers():
    parameter = Parameter(("x",), "float", 0.0, 0.8, step=0.05)
    values = [parameter.decode(parameter.middle(cell)) for cell in range(17)]
    assert values[3] == 0.15
    assert values[16] == 0.8
    assert parameter.cells == 17


def test_a_value_off_the_grid_goes_to_the_nearest():
    width = Parameter(("x",), "integer", 8, 64, step=8)
    assert width.decode(width.encode(13)) == 16
    assert width.decode(width.encode(64)) == 64


def test_a_list_stands_for_a_tuple_and_truth_is_no_number():
    parameter = Parameter(("x",), "categorical", choices=(1, True, (3, 4)))
    assert parameter.decode(parameter.encode([3, 4])) == (3, 4)
    assert parameter.decode(parameter.encode(True)) is True
    assert parameter.decode(parameter.encode(1)) == 1
    assert parameter.decode(parameter.encode(1)) is not True


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"kind": "categorical"}, "no choices"),
        ({"kind": "integer", "low": 3, "high": 2}, "low must be smaller"),
        ({"kind": "float", "low": 1.0, "high": 1.0}, "low must be smaller"),
        ({"kind": "float", "low": 0.0, "high": 1.0, "log": True}, "above 0"),
        ({"kind": "float", "low": 0.0, "high": math.inf}, "finite"),
        ({"kind": "float", "low": 0.0, "high": 1.0, "step": 0.0}, "step 0.0"),
    ],
)
def test_a_bad_parameter_is_refused(keywords, message):
    with pytest.raises(ValueError, match=f"a/b.*{message}"):
        Parameter(("a", "b"), **keywords)


@pytest.mark.parametrize("value", ["fast", 9, -1, True, None, math.nan])
def test_a_value_that_is_not_legal_is_refused(value):
    with pytest.raises(ValueError, match="a/b is"):
        Parameter(("a", "b"), "integer", 0, 8).encode(value)


def test_an_unknown_choice_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'c': it must be one of 'a', 'b'"):
        Parameter(("x",), "categorical", choices=("a", "b")).encode("c")


SPACE = Encoding(
    [
        Parameter(("net", "stage1", "width"), "integer", 8, 64, step=8),
        Parameter(("net", "block"), "categorical", choices=("basic", "plain")),
        Parameter(("lr",), "float", 1e-4, 1e-2, log=True),
    ]
)
CONFIG = {"net": {"stage1": {"width": 24}, "block": "plain"}, "lr": 1e-3}


@given(st.lists(UNIT, min_size=3, max_size=3))
def test_a_config_encodes_back_also_through_json(vector):
    config = SPACE.decode(vector)
    again = SPACE.decode(SPACE.encode(json.loads(json.dumps(config))))
    assert again["net"] == config["net"]
    assert again["lr"] == pytest.approx(config["lr"])


def test_configs_are_nested():
    assert SPACE.names == ("net/stage1/width", "net/block", "lr")
    config = SPACE.decode(SPACE.encode(CONFIG))
    assert config["net"] == CONFIG["net"]
    assert config["lr"] == pytest.approx(1e-3)


def test_keys_that_are_not_searched_are_passed_over():
    assert (SPACE.encode({**CONFIG, "family": "resnet"}) == SPACE.encode(CONFIG)).all()


def test_a_lacking_value_comes_from_the_stand_in_or_is_refused():
    config = {"net": {"block": "plain"}, "lr": 1e-3}
    assert SPACE.encode(config, absent=np.full(3, 0.9))[0] == 0.9
    with pytest.raises(ValueError, match="no value for net/stage1/width"):
        SPACE.encode(config)


def test_cells_are_counted_and_listed():
    assert SPACE.cells == math.inf
    grid = Encoding(SPACE.parameters[:2])
    configs = [grid.decode(grid.cell(i)) for i in range(int(grid.cells))]
    assert grid.cells == len({repr(c) for c in configs}) == 16


def test_a_bad_space_is_refused():
    x = Parameter(("x",), "integer", 0, 1)
    with pytest.raises(ValueError, match="no parameter to search"):
        Encoding([])
    with pytest.raises(ValueError, match="has x twice"):
        Encoding([x, x])
    with pytest.raises(ValueError, match="x/y below another"):
        Encoding([x, Parameter(("x", "y"), "integer", 0, 1)])
