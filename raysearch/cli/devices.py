"""The commands about devices: the targets that there are, and how fast a model file runs on one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysearch.cli.output import Json, one_sentence, print_json, print_table

if TYPE_CHECKING:
    from raysearch.backends import Spec
    from raysearch.backends.base import Backend

_OPEN = "-"  # what is not said


def targets(as_json: Json = False) -> None:
    """List the targets: runtime, device, what it computes in integers, and how its latencies are known."""
    with one_sentence(as_json):
        from raysearch import backends

        rows = [_known(name) for name in backends.names()]
    if as_json:
        print_json(rows)
        return
    here = [row for row in rows if row["available"]]
    print_table(
        ["target", "runtime", "device", "integers", "latency", "options"],
        [
            [
                row["target"],
                f"{row['runtime']} {row['version']}",
                row["device"],
                ", ".join(map(str, row["integers"])) or "none",
                row["latency"],
                ", ".join(row["options"]),
            ]
            for row in here
        ],
    )
    for row in rows:
        if not row["available"]:
            typer.echo(f"{row['target']}: not available: {row['reason']}")


def _known(name: str) -> dict[str, Any]:
    """What there is to say of a target, also where another package's does not import."""
    from raysearch import backends
    from raysearch.basics.failures import UserError

    try:
        return _described(backends.get(name))
    except UserError as error:
        return {"target": name, "available": False, "reason": str(error)}


def _described(backend: Backend) -> dict[str, Any]:
    from raysearch import backends

    reason = backend.unavailable()
    row = {
        "target": backend.name,
        "available": reason is None,
        "reason": reason,
        "form": backend.form,
        "integers": sorted(backend.integers),
        "channel_multiple": backend.channel_multiple,
        "latency": backend.figures.get("latency_ms", "none"),
        "figures": dict(backend.figures),
        "options": backends.options_of(backend.runtime),
    }
    if reason is None:
        row |= {"runtime": backend.package, "version": backend.version(), "device": backend.device()}
    return row


def measure(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file: .onnx, .pt2, .tflite.")],
    target: Annotated[
        list[str],
        typer.Option("--target", "-t", help="Where: a target's name, or {runtime: ..., option: value}."),
    ],
    batch: Annotated[str | None, typer.Option(help="Inputs at a time: 1,8,32.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT=SIZES", help="An input's shape where the file leaves it open: x=1x16."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast a model file runs on targets, and what memory it takes."""
    with one_sentence(as_json):
        from raysearch.backends.base import MeasurementError
        from raysearch.backends.files import measure_file
        from raysearch.basics.failures import RunError

        shapes, sizes = dict(map(_shape, shape or ())), _batches(batch) if batch else [{}]
        specs = _named_once([_spec(text) for text in target])
        rows, refused = [], []
        for spec in ({**spec, **size} for spec in specs for size in sizes):
            try:
                rows.append(measure_file(model, spec, shapes))
            except MeasurementError as error:
                refused.append(str(error))
        for row in rows[1:]:  # what an earlier one has loaded, this process holds already
            row["memory_mb"] = None
        if not rows:
            raise RunError("\n".join(refused))
    if as_json:
        print_json(rows)
    else:
        print_table(_HEAD, map(_row, rows))
        for row in rows:
            for note in _remarks(row):
                typer.echo(f"{row['target']}, batch {row['batch']}: {note}")
    for reason in refused:
        typer.echo(f"raysearch: {reason}", err=True)
    if refused:
        raise typer.Exit(1)


def profile(
    target: Annotated[str, typer.Option("--target", "-t", help="A target's name, or {runtime: ...}.")],
    samples: Annotated[int, typer.Option(help="Networks that the latency predictor is made of.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the networks.")] = 0,
    as_json: Json = False,
) -> None:
    """Learn a device: channel multiples, bits that are faster, and a latency predictor."""
    with one_sentence(as_json):
        from dataclasses import asdict

        from raysearch.backends.base import MeasurementError
        from raysearch.basics.failures import RunError
        from raysearch.profiling import profile as profiling

        say = (lambda text: None) if as_json else (lambda text: typer.echo(f"measuring {text}"))
        try:
            found = profiling.profile(_spec(target), samples, seed, say)
        except MeasurementError as error:
            raise RunError(str(error)) from error
    if as_json:
        print_json(asdict(found))
    else:
        for line in profiling.summary(found):
            typer.echo(line)


_HEAD = (
    "target", "batch", "latency, ms", "±", "p50", "p90", "p99", "inputs/s", "memory, MB", "source",
)  # fmt: skip


def _row(row: dict[str, Any]) -> list[str]:
    from raysearch.reporting.figures import number

    def text(value: float | None, form: str = ".4g") -> str:
        return _OPEN if value is None else format(value, form)

    figures, wall = row["values"], row.get("wall_ms", {})
    return [
        row["target"],
        str(row["batch"]),
        text(figures.get("latency_ms")),
        text(100 * row["noise"], ".1f") + " %" if "noise" in row else _OPEN,
        *(text(wall.get(name)) for name in ("p50", "p90", "p99")),
        number(figures["throughput"]) if "throughput" in figures else _OPEN,
        text(row.get("memory_mb") or figures.get("peak_memory_mb")),
        row["source"],
    ]


def _remarks(row: dict[str, Any]) -> list[str]:
    """What a figure is to be read with."""
    said = {
        "converged": (False, "its interval did not come within the tolerance in time"),
        "warm": (False, "it was still getting faster: read the figure with care"),
        "contended": (True, "measured beside another load: measure again with the machine alone"),
    }
    return [*row.get("notes", ()), *(text for key, (bad, text) in said.items() if row.get(key) is bad)]


def _named_once(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The targets, of which no two share a name: their rows could not be told apart."""
    from raysearch.basics.failures import UserError
    from raysearch.basics.names import name_of_target

    names = [name_of_target(spec) for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"--target names {name} twice: give one a name of its own, {{name: ..., runtime: ...}}"
            )
    return specs


def _batches(text: str) -> list[dict[str, int]]:
    from raysearch.basics.failures import UserError

    sizes = text.split(",")
    if not all(size.strip().isdigit() and int(size) >= 1 for size in sizes):
        raise UserError(f"--batch is {text!r}: give whole numbers from 1 on, such as 1,8,32")
    return [{"batch": int(size)} for size in sizes]


def _shape(text: str) -> tuple[str, Sequence[int]]:
    from raysearch.basics.failures import UserError

    name, _, sizes = text.partition("=")
    parts = sizes.replace(",", "x").split("x")
    if not name or not all(part.strip().isdigit() for part in parts):
        raise UserError(f"--shape is {text!r}: give an input's name and its sizes, such as x=1x3x224x224")
    return name, tuple(int(part) for part in parts)


def _spec(text: str) -> dict[str, Any]:
    """A target of the command line as a mapping: a name, or YAML in braces."""
    from raysearch.basics.failures import UserError

    if not text.lstrip().startswith("{"):
        return {"runtime": text}
    from raysearch.study_file.yaml_text import parse_yaml

    spec: Spec = parse_yaml(text, "--target")
    if not isinstance(spec, dict):
        raise UserError(f"--target is {text!r}: give a name, or {{runtime: ..., option: value}}")
    return spec
