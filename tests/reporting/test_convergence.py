import pytest

from raysearch.reporting.convergence import convergence


def test_a_line_for_each_search_and_a_panel_for_each_part():
    by_layer = {"conv1": [(1, 5.0), (4, 2.0)], "head": [(5, 1.0)]}
    figure = convergence({"annealing": by_layer, "genetic": by_layer, "local": {"all layers": [(1, 3.0)]}})
    lines = {(line.name, line.xaxis): (list(line.x), list(line.y)) for line in figure.data}
    assert lines[("annealing", "x")] == ([1, 4], [5.0, 2.0])
    assert lines[("genetic", "x2")] == ([5], [1.0])
    assert lines[("local", "x3")] == ([1], [3.0])
    assert len({line.line.color for line in figure.data}) == 3
    assert [line.name for line in figure.data if line.showlegend] == ["annealing", "genetic", "local"]
    assert [line.line.color for line in figure.data if line.name == "annealing"] == ["#1f5fa8"] * 2
    assert {"2", "3", "5", "20"} <= set(figure.layout.yaxis.ticktext)  # plotly would write 20 as a small 2
    assert [note.text for note in figure.layout.annotations] == ["conv1", "head", "all layers"]


def test_many_searches_look_different_and_many_parts_take_several_rows():
    curves = {f"layer {i}": [(1, 1.0), (2, 0.0)] for i in range(5)}
    figure = convergence({f"search {i}": curves for i in range(12)})
    assert len({(line.line.color, line.line.dash) for line in figure.data}) == 12
    axes = ("xaxis", "xaxis2", "xaxis3", "xaxis4", "xaxis5")
    lowest = [figure.layout[axis.replace("x", "y", 1)].domain[0] for axis in axes]
    assert lowest[0] == lowest[1] == lowest[2] > lowest[3] == lowest[4] == 0
    assert [figure.layout[axis].title.text for axis in axes] == [None, None, *["evaluations"] * 3]
    four = convergence({"search": {f"layer {i}": [(1, 1.0)] for i in range(4)}})
    assert four.layout.xaxis.domain == four.layout.xaxis3.domain  # two in two rows


def test_no_curves_are_refused():
    with pytest.raises(ValueError, match="no curve to plot"):
        convergence({"annealing": {}})


def test_negative_costs_have_a_plain_axis():
    figure = convergence({"annealing": {"conv1": [(1, 2.0), (4, -1.0)], "head": [(1, 2.0), (4, 0.0)]}})
    assert (figure.layout.yaxis.type, figure.layout.yaxis2.type) == (None, "log")
