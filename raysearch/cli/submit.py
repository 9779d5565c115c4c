"""The command submit: a study as a job on a cluster, by Ray's own jobs."""

from __future__ import annotations

import json
import logging
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysearch.basics import extras
from raysearch.basics.failures import RunError, UserError, failure
from raysearch.basics.files import read_text
from raysearch.cli.output import INTERRUPTED, Json, Overrides, StudyPath, one_sentence, print_json

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from raysearch.cli.package import Package

_ANSWER_S = 10.0  # a dashboard answers within milliseconds
# Loggers of Ray that tell of every package and connection.
_TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env",
)
_UNREACHABLE = "ray dashboard or kubectl port-forward bring it to http://127.0.0.1:8265"


def submit(
    file: StudyPath,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="The run folder: s3://..., gs://..., or a shared disk.")
    ],
    address: Annotated[
        str, typer.Option(metavar="URL", envvar="RAY_API_SERVER_ADDRESS", help="The head's dashboard.")
    ] = "http://127.0.0.1:8265",
    overrides: Overrides = None,
    runtime_env: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the job needs installed, as clusters/pip.yaml.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show its output, and end as it ends.")] = False,
    as_json: Json = False,
) -> None:
    """Run a study as a job on a cluster; the study file travels with the modules beside it."""
    with one_sentence(as_json):
        extras.check("aiohttp", "cluster")  # what ray[default] has and ray[tune] has not
        from raysearch.cli.package import pack

        _check_out(out)
        address = address.rstrip("/")
        environment = _given(runtime_env)
        package = pack(file, overrides or (), environment["excludes"])
        environment |= {"working_dir": str(package.folder), "excludes": list(package.excludes)}
        entrypoint = shlex.join(_command(package.study, out, overrides or ()))
        client = _connect(address)
        with _told(address):
            job = client.submit_job(entrypoint=entrypoint, runtime_env=environment)
        document = _described(job, address, package, by_hand(address, environment, entrypoint))
        if not as_json:
            _show(document, out)
        if follow:
            document |= _follow(client, job, quiet=as_json)
        if as_json:
            print_json(document)
        if document.get("exit_code"):
            raise typer.Exit(int(document["exit_code"]))


def by_hand(address: str, environment: dict[str, Any], entrypoint: str) -> str:
    """The line of ``ray job submit`` that does the same, for a POSIX shell."""
    rest = {key: value for key, value in environment.items() if key != "working_dir" and value}
    line = ["ray", "job", "submit", "--address", address, "--working-dir", str(environment["working_dir"])]
    line += ["--runtime-env-json", json.dumps(rest)] if rest else []
    return f"{shlex.join(line)} -- {entrypoint}"


def _command(study: str, out: str, overrides: list[str] | tuple[str, ...]) -> list[str]:
    return [
        "raysearch",
        "run",
        study,
        "--out",
        out,
        *(word for each in overrides for word in ("--set", each)),
    ]


def _check_out(out: str) -> None:
    """Refuse a run folder that would be lost with the job, and warn of one that may be the head's own."""
    if "://" in out:
        return
    if not Path(out).is_absolute():
        raise UserError(
            f"--out {out} would be in the job's own folder, which is thrown away: give s3://..., gs://..., "
            "or the absolute path of a disk that all nodes share"
        )
    typer.echo(
        f"raysearch: --out {out} is a path on the cluster's nodes: where they do not share it, give s3://... "
        "or gs://...",
        err=True,
    )


def _given(file: Path | None) -> dict[str, Any]:
    """The runtime environment that a user has written, with "excludes" in any case."""
    from raysearch.study_file.yaml_text import parse_yaml

    given = {} if file is None else parse_yaml(read_text(file, "runtime environment"), file.name)
    if "working_dir" in given:
        raise UserError(f"{file} has working_dir, which is the study file's folder: leave it out")
    given.setdefault("excludes", [])
    if not isinstance(given["excludes"], list):
        raise UserError(f"{file}: excludes is {given['excludes']!r}, give a list of patterns")
    return dict(given)


def _connect(address: str) -> JobSubmissionClient:
    """A client of the jobs at an address.

    Raises:
        UserError: nothing answers there within seconds, it is no Ray, or it asks for another token.
    """
    from ray.job_submission import JobSubmissionClient

    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    if not address.startswith(("http://", "https://")):
        raise UserError(f"--address {address} is no dashboard's: give http://HEAD:8265")
    try:  # Ray's own client would wait for minutes
        urllib.request.urlopen(f"{address}/api/version", timeout=_ANSWER_S).close()
    except urllib.error.HTTPError:
        pass  # it answers; with a token it may be content
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"--address {address}: nothing answers there ({reason}); {_UNREACHABLE}") from None
    with _told(address):
        try:
            return JobSubmissionClient(address)
        except (KeyError, ValueError) as error:  # an answer without Ray's version
            raise UserError(f"--address {address}: what answers there is no Ray dashboard") from error


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Say in a sentence what a cluster refuses."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        if "Authentication required" in str(error):
            raise UserError(
                f"--address {address} asks for a token (401): put the cluster's into ~/.ray/auth_token or "
                "RAY_AUTH_TOKEN, and set RAY_AUTH_MODE=token"
            ) from None
        raise UserError(
            f"--address {address} refuses the token (403): the one in RAY_AUTH_TOKEN or ~/.ray/auth_token is "
            "another cluster's"
        ) from None
    except UserError:
        raise
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise UserError(f"--address {address} does not take the job: {failure(error)}") from error


def _described(job: str, address: str, package: Package, line: str) -> dict[str, Any]:
    return {
        "job": job,
        "address": address,
        "folder": str(package.folder),
        "files": sorted(package.files),
        "mib": package.mib,
        "follow": f"ray job logs --address {address} --follow {job}",
        "stop": f"ray job stop --address {address} {job}",
        "by_hand": line,
    }


def _show(document: dict[str, Any], out: str) -> None:
    count, size = len(document["files"]), f"{document['mib']:.2f} MiB"
    typer.echo(f"{document['job']}: sent {document['folder']}, {count} file{'s' * (count > 1)}, {size}")
    typer.echo(f"follow it:  {document['follow']}")
    typer.echo(f"stop it:    {document['stop']}")
    typer.echo(f"its report: raysearch report {shlex.quote(out)}")
    typer.echo(f"by hand:    {document['by_hand']}")


def _follow(client: JobSubmissionClient, job: str, quiet: bool) -> dict[str, Any]:
    """Show a job's output until it ends.

    Returns:
        "status", Ray's word, and "exit_code", 0 where it succeeded.

    Raises:
        RunError: the connection was lost; the job goes on.
    """
    import asyncio

    import aiohttp

    try:
        asyncio.run(_tail(client, job, quiet))
        while not (info := client.get_job_info(job)).status.is_terminal():
            time.sleep(0.5)
    except KeyboardInterrupt:
        typer.echo(f"raysearch: {job} is no longer followed, and goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (aiohttp.ClientError, RuntimeError, OSError) as error:
        raise RunError(f"the connection to {job} was lost, and it goes on: {failure(error)}") from error
    succeeded = info.status == "SUCCEEDED"
    return {"status": str(info.status.value), "exit_code": 0 if succeeded else info.driver_exit_code or 1}


async def _tail(client: JobSubmissionClient, job: str, quiet: bool) -> None:
    async for text in client.tail_job_logs(job):
        if not quiet:
            typer.echo(text, nl=False)
