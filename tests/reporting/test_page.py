from __future__ import annotations

import plotly.graph_objects as go

from raysearch.reporting.page import document, drawn, section, table, tile, tiles


def test_a_page_needs_nothing_else() -> None:
    page = document("a <b>", section("One", drawn([go.Figure(), go.Figure()])))
    assert "<title>raysearch: a &lt;b&gt;</title>" in page
    assert "<script src" not in page
    assert '<div class="plots">' in page
    assert "Plotly" in page


def test_tables_take_html_and_tiles_take_text() -> None:
    assert "<td><i>1</i></td>" in table(["x"], [("reference", ["<i>1</i>"])])
    assert '<tr class="reference">' in table(["x"], [("reference", ["1"])])
    assert "&lt;i&gt;" in tiles([tile("<i>", "what", "note")])
