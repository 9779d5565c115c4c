"""The command line: run, resume, report; more stand in checking.py, allocation.py ...

Heavy imports stand inside the commands, so that ``raysearch --help`` answers at once. Bad input ends with
exit code 2 and one sentence, a run that could not go on with exit code 1 and one sentence, and a fault of the
program with exit code 1 and its traceback; ``--json`` prints one JSON document, errors too ({"error": ...}).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysearch.cli import allocation, checking, devices, serving, submit, watching
from raysearch.cli.output import (
    INTERRUPTED,
    Json,
    Overrides,
    Quiet,
    StudyPath,
    one_sentence,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from raysearch.metrics import Metric
    from raysearch.record.results import RunResult
    from raysearch.storage import Place

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the best trade-offs of a neural network on the hardware it will run on.",
)

RunFolder = Annotated[str, typer.Argument(metavar="DIR", help="The run folder, or s3://... or gs://...")]
Repairing = Annotated[
    bool,
    typer.Option("--repair", help="Go on without the lines of a damaged journal that cannot be used."),
]


@app.command()
def run(
    file: StudyPath,
    overrides: Overrides = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="The run folder, or s3://... or gs://...; runs/FILE-TIME if left out."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search as a study file says; a folder with an unfinished run of the same study is gone on with."""
    with one_sentence(as_json):
        from raysearch.storage import folder_of
        from raysearch.study import study_of
        from raysearch.study_file.build import load

        study_file = load(file, overrides or ())
        study = study_of(study_file)
        search = study_file.search
        folder = folder_of(out or Path("runs") / f"{file.stem}-{time.strftime('%Y%m%d-%H%M%S')}")
        result = study.run(
            search.num_trials,
            folder=folder,
            max_minutes=search.max_minutes,
            progress=not (quiet or as_json),
        )
        _conclude(result, as_json)


@app.command()
def resume(
    folder: RunFolder,
    changes: Overrides = None,
    repair: Repairing = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was interrupted, killed, or ended by its limits; --set gives it others."""
    with one_sentence(as_json):
        from raysearch.record.journal import check_run_folder
        from raysearch.storage import folder_of

        check_run_folder(folder_of(folder))
        _repair(folder_of(folder), repair)
        from raysearch import resume as resuming

        began = time.time()
        result = resuming.resume(folder, changes or (), progress=not (quiet or as_json))
        _conclude(result, as_json)
        if result.record.last_time < began and not as_json:
            typer.echo("The run was complete already: nothing ran again")


@app.command()
def report(
    folder: RunFolder,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the run's table and keep the page fresh while it goes on.")
    ] = False,
    repair: Repairing = False,
    as_json: Json = False,
) -> None:
    """Write or refresh report.html, trials.csv and front.csv of a run, and print its front."""
    with one_sentence(as_json):
        from raysearch.storage import folder_of

        if watch and as_json:
            from raysearch.basics.failures import UserError

            raise UserError("--watch shows a table, --json gives one object: give one of the two")
        _repair(folder_of(folder), repair)
        if watch:
            watching.watch_report(folder_of(folder))
        from raysearch.record.results import RunResult
        from raysearch.reporting.html import write_report
        from raysearch.sweeps.table import write_sweep

        result = RunResult(folder)
        result.write_tables()
        write_report(result.folder)
        if "sweep" in result.study:
            write_sweep(result.folder)
        _show(result, as_json)


def _repair(folder: Place, asked: bool) -> None:
    """Repair the journal of a run where that is asked for, and say what went."""
    if not asked:
        return
    from raysearch.record.repair import repair

    found = repair(folder)
    for sentence in found.sentences() if found else ["the journal is whole: there is nothing to repair"]:
        typer.echo(f"raysearch: {sentence}", err=True)


def _conclude(result: RunResult, as_json: bool) -> None:
    _show(result, as_json)
    if result.ending == "interrupt":
        raise typer.Exit(INTERRUPTED)


def _show(result: RunResult, as_json: bool) -> None:
    """Print the front, or a sweep's points, where the report is, and how to go on with an unfinished run."""
    if "sweep" in result.study:
        allocation.show_sweep(result, as_json)
        return
    from raysearch.record.tracebacks import FOLDER
    from raysearch.reporting.html import FILE_NAME
    from raysearch.storage.room import room, room_text

    page = result.folder / FILE_NAME
    if as_json:
        print_json(
            {
                "folder": str(result.folder),
                "report": str(page),
                "ending": result.ending,
                "complete": result.complete,
                "seconds": result.seconds,
                "trials": result.counts(),
                "failed": [
                    {"trial": t.name, "reason": t.reason, "traceback": t.traceback} for t in result.failed
                ],
                "front": result.front.to_dict("records"),
                "remarks": result.remarks,
                "room": room(result.folder),
            }
        )
        return
    _print_front(result)
    counts = ", ".join(f"{number} {name}" for name, number in result.counts().items())
    untrained = f"; {result.untrained} of the stopped untrained" if result.untrained else ""
    parent = ", the parent among them" if any(t.role != "trial" for t in result.front_records) else ""
    typer.echo(f"\n{len(result.front)} on the front{parent}; trials: {counts}{untrained}")
    for remark in result.remarks:
        typer.echo(f"Note: {remark}")
    if any(t.traceback for t in result.failed):
        typer.echo(f"Tracebacks of the failed: {result.folder / FOLDER}")
    typer.echo(room_text(result.folder))
    typer.echo(f"Report: {page}")
    if result.ending == "running":
        typer.echo(f"It is running, or was killed: then go on with: raysearch resume {result.folder}")
    elif not result.complete:
        typer.echo(f"Go on with: raysearch resume {result.folder}")


def _print_front(result: RunResult) -> None:
    from raysearch.record.remarks import why_no_front
    from raysearch.record.results import summary_columns

    front = result.front
    if front.empty:
        typer.echo(why_no_front(result.record))
        return
    columns = [column for column in summary_columns(result) if column in front]
    rows = [
        [_cell(result.record.metric(column), row[column]) for column in columns]
        for row in front.to_dict("records")
    ]
    print_table([_heading(result.record.metric(column)) for column in columns], rows)


def _cell(column: Metric, value: Any) -> str:
    from raysearch.reporting.figures import metric_value, times

    if isinstance(value, str):
        return value
    return times(value) if column.name.startswith("times_") else metric_value(column, value)


def _heading(column: Metric) -> str:
    name, _, target = column.name.partition("/")
    words = {"times_faster": "times faster", "times_smaller": "times smaller", "verdict": "verdict"}
    return f"{words[name]} ({target})" if name in words and target else words.get(name) or column.title


app.command()(checking.check)
app.command()(submit.submit)
app.command()(allocation.sweep)
app.command()(allocation.allocate)
app.command()(devices.targets)
app.command()(devices.measure)
app.command()(devices.profile)
app.command()(watching.dashboard)
app.command()(serving.serve)


def main() -> None:
    """The console script."""
    app(prog_name="raysearch")
