"""The table of docs/models.md: what of each case is pruned, is quantised, and stays in float.

python -m benchmarks.own_models.table
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from benchmarks.own_models.zoo import NAMES, case, described
from raysearch.networks.capture import capture
from raysearch.networks.groups import quantizable_layers
from raysearch.search_spaces.bit_widths import BitWidthPlan
from raysearch.search_spaces.pruning.channel_pruning import groups_of
from raysearch.trainables.quantization import fold_batch_norm, in_float, insert_quantizers

HEAD = "| model and task | channels can go from | bits of | in float at 8 bits |\n|---|---|---|---|\n"


def row(name: str) -> str:
    """A case's line of the table."""
    task = case(name).task
    model, inputs = task.build(), task.example_input(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = groups_of(model, inputs, task.exclude)
    layers = quantizable_layers(model, inputs, task.exclude)
    eight = BitWidthPlan(dict.fromkeys(layers, 8), dict.fromkeys(layers, 8))
    folded = fold_batch_norm(capture(model, inputs, task.varying))
    floats = in_float(insert_quantizers(folded, eight))
    return f"| {described(name)} | {_listed(groups)} | {_listed(layers)} | {_listed(floats)} |\n"


def table(names: Iterable[str] = NAMES) -> str:
    """The whole table, Markdown."""
    return HEAD + "".join(map(row, names))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


if __name__ == "__main__":
    print(table(), end="")
