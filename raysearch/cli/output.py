"""What the commands share: arguments, one sentence for bad input, tables, and JSON as the only output."""

from __future__ import annotations

import contextlib
import json
import math
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from raysearch.basics.failures import RunError, UserError, failure

StudyPath = Annotated[
    Path, typer.Argument(metavar="FILE", help="The study file (YAML); see docs/study-file.md.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: search.num_trials=64.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]

INTERRUPTED = 130
_PIPED = 200  # columns; a pipe is taken for 80 columns wide, which would cut a table


@contextlib.contextmanager
def one_sentence(as_json: bool) -> Iterator[None]:
    """Turn bad input into its sentence and exit code 2, a run that could not go on into exit code 1.

    Anything else is a fault of the program: it ends with exit code 1 and its traceback, which ``as_json``
    gives beside the error.
    """
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt as error:
        at_once = "ended at once, without a report; raysearch resume goes on with a run that has begun"
        _fail(str(error) or at_once, INTERRUPTED, as_json)
    except UserError as error:
        _fail(str(error), 2, as_json)
    except RunError as error:
        _fail(str(error), 1, as_json)
    except Exception as error:
        if not as_json:
            raise
        print_json({"error": failure(error), "traceback": traceback.format_exc()})
        raise typer.Exit(1) from error


def print_json(document: Any) -> None:
    """Print plain data; numpy's numbers are taken, and what is not finite becomes null."""
    typer.echo(json.dumps(plain(document), indent=1))


def plain(value: Any) -> Any:
    """JSON has no NaN: null stands for what is not known."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for i, column in enumerate(head):
        table.add_column(Text(column), justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # text, not markup: a name may hold brackets
    console = Console()
    Console(width=console.width if console.is_terminal else _PIPED).print(table)


def _fail(message: str, code: int, as_json: bool) -> None:
    if as_json:
        print_json({"error": message})
    else:
        for line in message.splitlines():
            typer.echo(f"raysearch: {line}", err=True)
    raise typer.Exit(code)
