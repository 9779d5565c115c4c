"""The commands of pruning budgets: sweep, which measures curves, and allocate, which divides a budget."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysearch.cli.output import (
    INTERRUPTED,
    Json,
    Overrides,
    Quiet,
    StudyPath,
    one_sentence,
    plain,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from raysearch.allocation import Allocation, Problem
    from raysearch.allocation.curves import Floats
    from raysearch.metrics import Metric
    from raysearch.record.results import RunResult


def sweep(
    file: StudyPath,
    overrides: Overrides = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run folder; runs/FILE-sweep-TIME if left out.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Prune parts of a network, one at a time and all together, and measure; an unfinished sweep goes on."""
    with one_sentence(as_json):
        from raysearch.storage import resolved
        from raysearch.study_file.build import load
        from raysearch.sweeps.sweep import plan_of, run_sweep

        study_file = load(file, overrides or ())
        result = run_sweep(
            plan_of(study_file),
            resolved(out or Path("runs") / f"{file.stem}-sweep-{time.strftime('%Y%m%d-%H%M%S')}"),
            max_minutes=study_file.search.max_minutes,
            progress=not (quiet or as_json),
        )
        show_sweep(result, as_json)
        if result.ending == "interrupt":
            raise typer.Exit(INTERRUPTED)


def allocate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The allocation file (YAML); see docs/allocation.md.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: floor=70.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write allocation.json, front.csv and allocation.html."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Divide a pruning budget over the branches of a network; that nothing is feasible is an answer too."""
    with one_sentence(as_json):
        from raysearch import allocation
        from raysearch.reporting.allocation_page import as_data
        from raysearch.study_file import allocation_file

        given, problem, notes = allocation_file.load(file, overrides or ())
        found = allocation.allocate(problem, points=given.points, latencies=given.latencies)
        page = _write(file, overrides or (), out, found, notes) if out else None
        if as_json:
            print_json({**as_data(found, notes), "report": str(page) if page else None})
            return
        _show_allocation(found, notes)
        if page:
            typer.echo(f"Report: {page}")


def show_sweep(result: RunResult, as_json: bool) -> None:
    """Print the points of a sweep, where its curves are, and how to go on."""
    from raysearch.reporting.sweep_page import FILE_NAME
    from raysearch.sweeps.quality import column, quality_in
    from raysearch.sweeps.table import ALL, TABLE, table_of, together_of

    folder, table, together = result.folder, table_of(result.record), together_of(result.record)
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "table": str(folder / TABLE),
                "report": str(folder / FILE_NAME),
                "ending": result.ending,
                "complete": result.complete,
                "trials": result.counts(),
                "points": table.to_dict("records"),
                "together": together.to_dict("records"),
            }
        )
        return
    quality = column(quality_in(result.record))
    shown = {
        "branch": "branch",
        "ratio": "ratio",
        quality: quality,
        "network_mb": "network, MB",
        "network_ms": "network, ms",
    }
    points = [*table.to_dict("records"), *together.assign(branch=ALL).to_dict("records")]
    rows = [[_text(row[c], result.record.metric(c)) for c in shown] for row in points]
    if rows:
        print_table(list(shown.values()), rows)
        typer.echo(f"\nCurves and measurements: {folder / FILE_NAME}")
    else:
        typer.echo("no point is complete yet")
    failed = result.counts()["failed"]
    if failed:
        typer.echo(f"{failed} points failed and are left out; {folder / 'report.html'} says why, and where")
    if result.complete:
        typer.echo(f"Divide a budget over them: raysearch allocate, with measurements: {folder / TABLE}")
    else:
        typer.echo(f"Go on with: raysearch resume {folder}")


def _text(value: Any, column: Metric) -> str:
    from raysearch.reporting.figures import metric_value

    return value if isinstance(value, str) else metric_value(column, value)


def _write(file: Path, overrides: Iterable[str], out: Path, found: Allocation, notes: list[str]) -> Path:
    """Write what is found into a folder; the path of the page."""
    from raysearch.reporting.allocation_page import as_data, render

    out.mkdir(parents=True, exist_ok=True)
    data = plain(as_data(found, notes))
    (out / "allocation.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    found.front.to_csv(out / "front.csv", index=False)
    page = out / "allocation.html"
    source = "\n".join([file.read_text(encoding="utf-8").rstrip(), *(f"# --set {o}" for o in overrides)])
    page.write_text(render(file.stem, found, notes, source), encoding="utf-8")
    return page


def _show_allocation(found: Allocation, notes: list[str]) -> None:
    """Print both ends of the front, or what conflicts and the smallest relaxations."""
    from raysearch.reporting.allocation_page import best_ratios, smallest_ratios

    for note in notes:
        typer.echo(f"note: {note}")
    if not found.feasible:
        typer.echo(f"not feasible: these limits cannot all be kept: {'; '.join(found.conflict)}")
        typer.echo("Any one of these makes it feasible, by the smallest step:")
        for relaxation in found.relaxations:
            typer.echo(f"  - {relaxation.text}")
        _show_division("Within the caps the most accurate division is", found.problem, best_ratios(found))
        return
    _show_division("The most accurate division", found.problem, best_ratios(found))
    if len(found.front) > 1:
        _show_division("The smallest division", found.problem, smallest_ratios(found))
        typer.echo(f"The front between them has {len(found.front)} points.")


def _show_division(title: str, problem: Problem, ratios: Floats) -> None:
    from raysearch.reporting.allocation_page import branch_table, cells, figures_of, heads

    typer.echo(f"{title}: {_totals(problem, figures_of(problem, ratios))}\n")
    rows = branch_table(problem, ratios)
    print_table(heads(problem), [cells(problem, row) for row in rows.to_dict("records")])
    typer.echo("")


def _totals(problem: Problem, figures: dict[str, Any]) -> str:
    from raysearch.allocation.curves import BAND
    from raysearch.metrics import find
    from raysearch.reporting.figures import metric_value, number

    accuracy = metric_value(find(problem.metric), figures["accuracy"])
    if problem.accuracy_error > 0:
        accuracy += f" +- {metric_value(find(problem.metric), BAND * problem.accuracy_error)}"
    text = f"weighted {problem.metric} {accuracy}, {number(figures['size_mb'])} MB"
    if "latency_ms" not in figures:
        return text
    slowest = f"the slowest is branch {figures['bottleneck']} at {number(figures['bottleneck_ms'])} ms"
    mean = f"{number(figures['mean_ms'])} ms on average"
    return f"{text}, {number(figures['latency_ms'])} ms ({problem.latency}; {slowest}, {mean})"
