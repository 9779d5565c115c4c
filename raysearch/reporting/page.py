"""The parts of a page that needs nothing else: one HTML file with its style, its plots and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go


def document(title: str, body: str, refresh: float | None = None) -> str:
    """The whole page.

    Args:
        title: plain text.
        body: HTML, plots of ``drawn`` among it.
        refresh: seconds after which a browser loads it again; None: never.
    """
    from plotly.offline import get_plotlyjs

    style = files("raysearch.reporting").joinpath("report.css").read_text(encoding="utf-8")
    again = "" if refresh is None else f'<meta http-equiv="refresh" content="{refresh:.0f}">'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}'
        f"<title>raysearch: {escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style><script>{get_plotlyjs()}</script></head><body><main>{body}</main></body></html>"
    )


def section(title: str, *parts: str) -> str:
    """A titled section of HTML parts."""
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"


def drawn(figures: Sequence[go.Figure]) -> str:
    """Plots, two beside each other where there are several."""
    config = {"displayModeBar": False, "responsive": True}
    divisions = [f.to_html(full_html=False, include_plotlyjs=False, config=config) for f in figures]
    kind = "plots" if len(divisions) > 1 else "plot"
    return f'<div class="{kind}">{"".join(f"<figure>{d}</figure>" for d in divisions)}</div>'


def table(head: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table; each row is its CSS class and its cells, already HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        f'<tr class="{name}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, cells in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def tiles(contents: Iterable[str]) -> str:
    """A row of ``tile``."""
    return f'<div class="tiles">{"".join(contents)}</div>'


def tile(figure: str, what: str, note: str) -> str:
    """One figure in large, what it is, and a remark; plain text."""
    text = f"<b>{escape(figure)}</b><span>{escape(what)}</span><small>{escape(note)}</small>"
    return f'<div class="tile">{text}</div>'
