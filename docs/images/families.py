"""Draw what varies in each ready family, by its default space: `python docs/images/families.py`.

Above the parts in a row, those that may be absent dashed, with what each chooses; below one block from the
inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from raysearch import search_spaces as spaces
from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures import possible_parts

WIDTH, GAP, LINE, MARGIN = 144, 26, 17, 30
INK, QUIET, ACCENT, FILL = "#1f2937", "#6b7280", "#b45309", "#eef2ff"


@dataclass(frozen=True)
class Picture:
    """A family's picture.

    Attributes:
        title: what it is, in a line.
        space: of which all domains are written out.
        fixed: what parts that choose nothing by themselves hold.
        inside: what the lower row shows.
        block: the layers of a block; those in brackets only where chosen.
        skip: between which of these layers a skip leads around the others: from before one to behind another.
    """

    title: str
    space: Mapping[str, Any]
    fixed: Mapping[str, str]
    inside: str
    block: tuple[str, ...]
    skip: tuple[tuple[int, int], ...] = ()


HEAD = {"head": "mean, linear"}
PICTURES = {
    "resnet": Picture(
        "residual network: images (channels, height, width)",
        spaces.resnet(stages=(2, 4), kernel=(3, 5), block=("basic", "plain", "separable")),
        {"stem": "3 x 3 convolution", **HEAD},
        'a block "basic" of a stage',
        ("k x k convolution", "k x k convolution"),
        ((0, 1),),
    ),
    "mobilenet": Picture(
        "inverted residuals: images (channels, height, width)",
        spaces.mobilenet(stages=(2, 4), activation=("relu", "hard_swish")),
        {"stem": "3 x 3 convolution", **HEAD},
        "a block of a stage; the first has no skip",
        ("[1 x 1, expand]", "k x k depthwise", "[squeeze]", "1 x 1, project"),
        ((0, 3),),
    ),
    "vit": Picture(
        "vision transformer: images (channels, height, width)",
        spaces.vit(blocks=(2, 4), activation=("relu", "gelu")),
        {"patches": "embedding = heads x head_width, positions", "head": "norm, mean, linear"},
        "a block",
        ("norm", "attention", "norm", "linear1", "linear2"),
        ((0, 1), (2, 4)),
    ),
    "conv1d": Picture(
        "one-dimensional convolutions: signals (channels, length)",
        spaces.conv1d(stages=(2, 4)),
        {"stem": "convolution of 7", **HEAD},
        'a block "basic" of a stage',
        ("convolution of k", "convolution of k"),
        ((0, 1),),
    ),
    "mlp": Picture(
        "perceptron: inputs of any shape, flattened",
        spaces.mlp(activation=("relu", "gelu")),
        {"head": "linear"},
        "a layer",
        ("linear", "[batch norm]", "activation"),
    ),
}


def said(values: domains.Values) -> str:
    """What a domain draws, in a few characters."""
    if isinstance(values, domains.Choices):
        shown = sorted(values.values) if all(map(domains.is_number, values.values)) else values.values
        return ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in shown)
    step = f" by {values.step:g}" if values.step and values.step > 1 else ""
    return f"{values.low:g} to {values.high:g}{step}"


def wrapped(text: str, width: int = 20) -> list[str]:
    """Lines of at most so many characters, as far as words allow."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def text(x: float, y: float, content: str, color: str = INK, size: int = 12, anchor: str = "middle") -> str:
    """A line of text whose baseline is at y."""
    style = f'fill="{color}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(content)}</text>'


def box(x: float, y: float, height: float, dashed: bool) -> str:
    """A rounded box, dashed where it may be absent."""
    style = f'fill="{FILL}" stroke="{INK}"' + (' stroke-dasharray="5 4"' if dashed else "")
    return f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{height}" rx="8" {style}/>'


def arrow(x: float, y: float) -> str:
    """From one box to the next."""
    return f'<path d="M{x} {y} h{GAP - 3}" stroke="{INK}" fill="none" marker-end="url(#tip)"/>'


def row(y: float, height: float, boxes: list[tuple[list[tuple[str, str]], bool]]) -> Iterator[str]:
    """Boxes of lines (text, colour) beside one another, with arrows between them."""
    for i, (lines, dashed) in enumerate(boxes):
        x = MARGIN + i * (WIDTH + GAP)
        yield box(x, y, height, dashed)
        for number, (line, color) in enumerate(lines):
            yield text(x + WIDTH / 2, y + 20 + number * LINE, line, color, 13 if number == 0 else 11)
        yield arrow(x + WIDTH, y + height / 2)
    yield arrow(MARGIN - GAP, y + height / 2)


def parts(picture: Picture) -> list[tuple[list[tuple[str, str]], bool]]:
    """The lines of every part that a network of the space can have, and whether it may be absent."""
    searched = domains.read(picture.space)
    counts = [values for path, values in searched.items() if path[-1] in ("stages", "blocks", "layers")]
    least = int(counts[0].ends()[0])
    boxes = []
    for part in possible_parts(picture.space):
        own = [(path[-1], said(v)) for path, v in searched.items() if path[0] == part]
        lines = [(part, INK), *((line, QUIET) for line in wrapped(picture.fixed.get(part, "")) if line)]
        lines += [(line, ACCENT) for name, values in own for line in wrapped(f"{name}: {values}", 24)]
        number = part.lstrip("abcdefghijklmnopqrstuvwxyz")
        boxes.append((lines, bool(number) and int(number) > least))
    return boxes


def draw(picture: Picture) -> str:
    """The picture as SVG."""
    boxes = parts(picture)
    height = 20 + LINE * max(len(lines) for lines, _ in boxes)
    below = 66 + height + 84
    width = 2 * MARGIN + max(len(boxes), len(picture.block)) * (WIDTH + GAP) - GAP
    whole = [f"{p[0]}: {said(v)}" for p, v in domains.read(picture.space).items() if len(p) == 1]
    shown = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {below + 70}" '
        f'width="{width}" height="{below + 70}" font-family="Helvetica, Arial, sans-serif">',
        f'<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
        f'<path d="M0 0 L6 3 L0 6 z" fill="{INK}"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
        text(MARGIN, 24, picture.title, size=14, anchor="start"),
        text(MARGIN, 44, "; ".join(whole), ACCENT, anchor="start"),
        *row(58, height, boxes),
        text(MARGIN, below - 34, f"{picture.inside}:", QUIET, anchor="start"),
    ]
    layers = [([(layer.strip("[]"), INK)], layer.startswith("[")) for layer in picture.block]
    shown += row(below, 34, layers)
    for first, last in picture.skip:
        start = MARGIN + first * (WIDTH + GAP) - GAP / 2 + (4 if first else 0)
        end = MARGIN + last * (WIDTH + GAP) + WIDTH + GAP / 2 - 6
        shown.append(
            f'<path d="M{start} {below + 17} C{start} {below - 34} {end} {below - 34} {end} {below + 14}" '
            f'stroke="{QUIET}" fill="none" marker-end="url(#tip)"/>'
        )
    return "\n".join([*shown, "</svg>", ""])


if __name__ == "__main__":
    for name, picture in PICTURES.items():
        (Path(__file__).parent / f"{name}.svg").write_text(draw(picture), encoding="utf-8")
