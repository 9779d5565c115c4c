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
    assert [note.text for note in figure.layout.annotations] == ["conv1", "head", "all layers"]
