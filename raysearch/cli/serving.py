"""The command that serves a front."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysearch.cli.output import Json, one_sentence, print_json

if TYPE_CHECKING:
    from raysearch.serving.variants import Front

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run, in s3://... or gs://... too, or an exported front."),
    ],
    slo_ms: Annotated[float, typer.Option(help="Milliseconds in which a request is to be answered.")] = 20.0,
    host: Annotated[
        str, typer.Option(help="Where to listen; another than this machine needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000,
    token: Annotated[
        str, typer.Option(envvar="RAYSEARCH_TOKEN", help="What requests bring: authorization: Bearer TOKEN.")
    ] = "",
    replicas: Annotated[
        str | None,
        typer.Option(metavar="N or N-M", help="How many, by the queue; from 1 to one a CPU if left out."),
    ] = None,
    max_memory_mb: Annotated[float | None, typer.Option(help="For all sessions of a replica.")] = None,
    rule: Annotated[str, typer.Option(help="plan, static, slackfit or rate.")] = "plan",
    update: Annotated[
        bool, typer.Option("--update", help="Roll RUN out where PORT is served already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve a front over HTTP, on Ray Serve: of its variants the best that is in time, request by request."""
    with one_sentence(as_json):
        from raysearch.basics import extras
        from raysearch.basics.failures import UserError
        from raysearch.serving.limits import Limits
        from raysearch.serving.variants import read_front
        from raysearch.storage import resolved

        extras.check("starlette", "serve")
        extras.check("uvicorn", "serve")
        if host not in _LOOPBACK and not token:
            raise UserError(
                f"--host is {host}: others can reach it, so give a --token that requests have to bring"
            )
        limits = Limits(slo_ms=slo_ms, max_memory_mb=max_memory_mb, rule=rule)
        said = {"run": run, "host": host, "port": port}
        if update:
            from raysearch.serving.control import ask

            _check_kept(context)
            front = read_front(run)
            ask(port, str(resolved(run)))
            _say(front, {**said, "action": "rolled out to"}, as_json)
            return
        args = {"run": str(resolved(run)), "token": token, **_counted(replicas), **limits.plain()}
        _until_told({**said, "action": "served at"}, args, as_json)


def _check_kept(context: typer.Context) -> None:
    """Refuse what a rollout does not change."""
    from raysearch.basics.failures import UserError

    for name in ("slo_ms", "rule", "max_memory_mb", "replicas", "token"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option} is given with --update, which rolls out another front and changes nothing else:"
                " leave it out; POST /limits changes limits"
            )


def _counted(replicas: str | None) -> dict[str, int]:
    from raysearch.basics.failures import UserError

    if replicas is None:
        return {}
    least, _, most = replicas.partition("-")
    if not least.isdecimal() or not (most or least).isdecimal():
        raise UserError(f"--replicas is {replicas!r}: give a number, or two as 1-4")
    return {"min_replicas": int(least), "max_replicas": int(most or least)}


def _until_told(said: dict[str, Any], args: dict[str, Any], as_json: bool) -> None:
    from raysearch.serving.control import listening
    from raysearch.serving.deployment import running, update

    with running(args, said["host"], said["port"]) as front, listening(said["port"], update):
        ending = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):  # now: Ray has set handlers of its own at its start
            signal.signal(number, lambda *_: ending.set())
        _say(front, said, as_json)
        ending.wait()


def _say(front: Front, said: dict[str, Any], as_json: bool) -> None:
    url = f"http://{said['host']}:{said['port']}"
    if as_json:
        variants = [{"variant": v.name, front.metric: v.quality, "file": str(v.file)} for v in front.variants]
        print_json({"url": url, **said, "metric": front.metric, "variants": variants})
        return
    for variant in reversed(front.variants):
        typer.echo(f"  {variant.name}  {front.metric} {variant.quality:.4g}")
    typer.echo(f"{said['run']}: {said['action']} {url}/predict; watch it at {url}/, counts at {url}/metrics")
