"""The commands that look at a run while it goes on: dashboard, and what ``report --watch`` does."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from raysearch.cli.output import one_sentence

if TYPE_CHECKING:
    from raysearch.storage import Place

_PORT = 8080


def dashboard(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The run folder, or s3://... or gs://...")],
    port: Annotated[int, typer.Option(help="Where it listens on this machine; 0: a free one.")] = _PORT,
) -> None:
    """Show a run, also one that goes on, in optuna-dashboard: front, history, importances, timeline."""
    with one_sentence(as_json=False):
        from raysearch.storage import folder_of
        from raysearch.watching.dashboard import keep_up, served

        with served(folder_of(folder), port) as (address, run, mirror):
            typer.echo(f"{address} shows {folder} as it goes on; Ctrl-C ends it")
            with contextlib.suppress(KeyboardInterrupt):
                keep_up(run, mirror)


def watch_report(folder: Place) -> None:
    """Show the live table and keep the report fresh until the run's session ends, or Ctrl-C."""
    from raysearch.reporting.html import FILE_NAME
    from raysearch.watching.pages import watch

    typer.echo(f"{folder / FILE_NAME} is kept fresh; Ctrl-C ends the watching")
    with contextlib.suppress(KeyboardInterrupt):
        watch(folder)
