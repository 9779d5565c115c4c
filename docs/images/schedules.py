"""Draw how settings go over a trial's epochs, by the code that does it: `python docs/images/schedules.py`.

One picture of pruning in steps, of the learning rates and of inputs that grow; one of pruning criteria, read
from the table of docs/benchmarks.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from raysearch.search_spaces.pruning.steps import share_at, steps_by
from raysearch.trainables.training.resizing import size_at
from raysearch.trainables.training.schedule import Schedule

INK, QUIET, GRID = "#1f2937", "#6b7280", "#e5e7eb"
COLORS = ("#1d4ed8", "#b45309", "#047857", "#7c3aed", "#be123c", "#0e7490", "#4d7c0f")
WIDTH, HEIGHT, LEFT, TOP, BETWEEN = 250, 170, 52, 62, 66
HERE = Path(__file__).parent

Lines = Mapping[str, Sequence[tuple[float, float]]]


def text(x: float, y: float, content: str, color: str = INK, size: int = 12, anchor: str = "start") -> str:
    """A line of text whose baseline is at y."""
    style = f'fill="{color}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(content)}</text>'


def panel(
    place: int, title: str, lines: Lines, across: tuple[float, float], ticks: Sequence[str]
) -> list[str]:
    """A plot of lines from 0 to 1.

    Args:
        place: from the left.
        title: above it.
        lines: by what they are called, points (x, share in [0, 1]).
        across: the ends of the axis of x.
        ticks: written evenly along it.
    """
    x0 = LEFT + place * (WIDTH + BETWEEN)

    def at(x: float, y: float) -> tuple[float, float]:
        return x0 + (x - across[0]) / (across[1] - across[0]) * WIDTH, TOP + (1 - y) * HEIGHT

    shown = [text(x0, TOP - 18, title, size=13)]
    for share in (0, 0.5, 1):
        _, y = at(across[0], share)
        shown.append(f'<path d="M{x0} {y:g} h{WIDTH}" stroke="{GRID}"/>')
        shown.append(text(x0 - 6, y + 4, f"{share:g}", QUIET, 11, "end"))
    for number, tick in enumerate(ticks):
        x = x0 + WIDTH * number / (len(ticks) - 1)
        shown.append(text(x, TOP + HEIGHT + 18, tick, QUIET, 11, "middle"))
    for number, (name, points) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        shown.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        column, line = number % 2, number // 2
        shown.append(text(x0 + column * WIDTH / 2, TOP + HEIGHT + 40 + 17 * line, name, color))
    return shown


def picture(panels: Sequence[list[str]], rows: int) -> str:
    """Panels beside one another as SVG, with so many rows of names below."""
    width = LEFT + len(panels) * (WIDTH + BETWEEN) - BETWEEN + 24
    height = TOP + HEIGHT + 40 + 17 * rows
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif">'
    )
    inside = [line for lines in panels for line in lines]
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *inside, "</svg>", ""])


def schedules() -> str:
    """Pruning in steps, learning rates and sizes over nine epochs, the last three of them quantised."""
    epochs, in_float = 9, 6
    edges = [(epoch - 1 + side, epoch) for epoch in range(1, in_float + 1) for side in (0, 1)]
    fine = [(epoch + part / 40, epoch + 1, part / 40) for epoch in range(epochs) for part in range(41)]
    steps = {
        f"steps={count}": [(x, share_at(steps_by(epoch, in_float, count), count)) for x, epoch in edges]
        for count in (1, 2, 4)
    }
    forms = {"cosine": 0.05, "onecycle": 0.3, "constant": 0.05}
    rates = {
        form: [(x, Schedule((in_float, epochs), form=form, warmup=w).rate(e, s)) for x, e, s in fine]
        for form, w in forms.items()
    }
    sizes = {
        f"first_size={first}": [(x, size_at(first, epoch, in_float)) for x, epoch in edges]
        for first in (1.0, 0.5)
    }
    axis = [str(epoch) for epoch in range(0, epochs + 1, 3)]
    return picture(
        [
            panel(0, "share of a ratio that is gone", steps, (0, epochs), axis),
            panel(1, "learning rate, of its peak in each part", rates, (0, epochs), axis),
            panel(2, "side of the inputs in the float part", sizes, (0, epochs), axis),
        ],
        rows=2,
    )


def criteria() -> str:
    """Accuracy over the share of channels that is gone, without training, by criterion."""
    page = (HERE.parent / "benchmarks.md").read_text(encoding="utf-8")
    page = page.partition("## pruning_criteria")[2].partition("\n## ")[0]
    panels = []
    for place, table in enumerate(re.findall(r"(\| (?:digits|CIFAR-10) \|.*?)\n\n", page, flags=re.S)):
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        title, unpruned = rows[0][0], _figure(rows[2][1])
        lines = {
            row[0].split()[0]: [(0.0, unpruned), *((0.25 * (i + 1), _figure(row[i + 1])) for i in range(3))]
            for row in rows[3:]
        }
        panels.append(panel(place, f"{title}: accuracy", lines, (0, 0.75), ["0", ".25", ".5", ".75"]))
    return picture(panels, rows=4)


def _figure(cell: str) -> float:
    return float(cell.replace("*", "").split()[0]) / 100


if __name__ == "__main__":
    for name, drawn in {"schedules": schedules(), "criteria": criteria()}.items():
        (HERE / f"{name}.svg").write_text(drawn, encoding="utf-8")
