"""The router over HTTP, as a plain ASGI application: predictions, limits, counts, events and a page.

It knows nothing of Ray: where several replicas serve together, the ``Board`` that they are given says what
they share.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, quote

import numpy as np
from numpy.typing import NDArray

from raysearch.basics.failures import UserError, failure
from raysearch.serving.counts import Counts, prometheus
from raysearch.serving.http.bodies import Receive, Refusal, Send, raw, reply, whole_body
from raysearch.serving.http.lateness import Lateness
from raysearch.serving.inputs import JSON, BadInput, most_bytes, parse
from raysearch.serving.router import Reply, Router, TooLate

_LONGEST_SETTING = 4096
_EVENT_MS = 500
_DIGITS = 9  # of a label that may be a class


class Board(Protocol):
    """What the replicas of a server share."""

    async def change(self, changes: Mapping[str, Any]) -> None:
        """Tell all replicas of limits that change; returns once they keep to them.

        Raises:
            UserError: one cannot, and all go on as they were.
        """

    async def counts(self) -> Counts:
        """Those of all replicas."""


class Application:
    """Answers /predict, /limits, /metrics, /events, /healthz and /.

    Args:
        router: answers.
        token: that every request has to bring ("authorization: Bearer TOKEN", for pages "?token=TOKEN");
            empty: none.
        board: where several replicas serve together.
    """

    def __init__(self, router: Router, token: str = "", board: Board | None = None) -> None:
        self._router, self._token, self._board = router, token.encode(), board
        self._lateness = Lateness()
        self._page = Path(__file__).with_name("page.html").read_bytes()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except Refusal as refusal:
            await reply(send, refusal.status, {"error": str(refusal)}, refusal.headers)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path not in _METHODS:
            raise Refusal(404, f"{path!r} is not served here: there are {', '.join(_METHODS)}")
        allowed = _METHODS[path]
        if method not in allowed:
            raise Refusal(405, f"{path} takes {' or '.join(allowed)}", {"allow": ", ".join(allowed)})
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
        if path == "/healthz":
            await reply(send, 200, {"status": "ok"})
            return
        self._check_token(scope, headers)
        if path == "/predict":
            await self._predict(headers, receive, send)
        elif path == "/limits":
            await self._limits(method, headers, receive, send)
        elif path == "/metrics":
            text = prometheus(await self._counts()).encode()
            await raw(send, 200, text, "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/events":
            await self._event(send)
        else:
            await raw(send, 200, self._page, "text/html; charset=utf-8", _PAGE_HEADERS)

    def _check_token(self, scope: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        if not self._token:
            return
        # Headers were read as latin-1, which gives their bytes back.
        given = headers.get("authorization", "").removeprefix("Bearer ").encode("latin1")
        if not given and scope["path"] in ("/", "/events"):
            given = parse_qs(scope["query_string"].decode("latin1")).get("token", [""])[0].encode()
        if not hmac.compare_digest(given, self._token):
            raise Refusal(401, "the token is missing or wrong", {"www-authenticate": "Bearer"})

    async def _predict(self, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        self._lateness.asked()
        ports = self._router.hall.ports
        try:
            body = await whole_body(headers, receive, most_bytes(ports))
            complete = time.monotonic()
            feed, label = parse(body, headers.get("content-type", ""), ports)
        except (Refusal, BadInput) as error:
            self._router.count(_bad)
            raise error if isinstance(error, Refusal) else Refusal(400, str(error)) from None
        submitted = time.monotonic()
        waited_ms = self._lateness.before_ms + 1e3 * (submitted - complete)
        answering = self._router.submit(feed, waited_ms, self._lateness.after_ms)
        try:
            answer = await asyncio.wrap_future(answering)
        except TooLate as late:
            seconds = str(max(1, math.ceil(late.retry_after_s)))
            raise Refusal(503, str(late), {"retry-after": seconds}) from None
        except Exception as error:  # of the runtime, whose classes share no base
            raise Refusal(500, f"the network cannot run this input: {failure(error)}") from None
        self._lateness.answered(waited_ms + 1e3 * (time.monotonic() - submitted) - answer.ms)
        label = headers.get("x-label", label)
        if label is not None:
            self._count_label(answer, label)
        await reply(send, 200, _said(answer), {"x-variant": quote(answer.variant, _PLAIN)})

    def _count_label(self, reply: Reply, label: Any) -> None:
        """Whether the largest output is the one that was sent as right; other outputs are let be."""
        outputs, text = reply.outputs[0], str(label)
        if outputs.ndim == 1 and text.isdecimal() and len(text) <= _DIGITS:
            right = int(np.argmax(outputs)) == int(text)

            def count(counts: Counts) -> None:
                counts.labelled += 1
                counts.right += right

            self._router.count(count)

    async def _limits(self, method: str, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        if method == "POST":
            if headers.get("content-type", "").partition(";")[0].strip() != JSON:
                raise Refusal(415, f"send {JSON}")
            body = await whole_body(headers, receive, _LONGEST_SETTING)
            try:
                changes = json.loads(body)
                if not isinstance(changes, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                raise Refusal(400, 'the body is no mapping of limits: send {"slo_ms": 10}') from None
            try:
                self._router.limits.changed(changes)  # what is wrong is said before anybody is told
                if self._board is None:
                    await asyncio.to_thread(lambda: self._router.change(**changes))
                else:
                    await self._board.change(changes)
            except UserError as error:
                raise Refusal(400, str(error)) from None
        await reply(send, 200, self._router.limits.plain() | {"variants": self._variants()})

    def _variants(self) -> list[dict[str, Any]]:
        hall = self._router.hall
        return [
            {
                "name": one.variant.name,
                "quality": one.variant.quality,
                "latency_ms": ms,
                "memory_mb": one.memory_mb,
            }
            for one, ms in zip(hall.loaded, hall.costs.times[0], strict=True)
        ]

    async def _counts(self) -> Counts:
        return self._router.counts() if self._board is None else await self._board.counts()

    async def _event(self, send: Send) -> None:
        """A server-sent event: the counts so far, the limits and the variants.

        The stream ends with it, and browsers ask for the next one. A stream that stayed open would count as a
        request under way: open pages would ask for more replicas, and hold a shutdown up.
        """
        event = {
            "counts": (await self._counts()).plain(),
            "limits": self._router.limits.plain(),
            "metric": self._router.hall.front.metric,
            "variants": self._variants(),
        }
        body = f"retry: {_EVENT_MS}\ndata: {json.dumps(event)}\n\n".encode()
        await raw(send, 200, body, "text/event-stream", {"cache-control": "no-store"})


_METHODS = {
    "/": ("GET",),
    "/predict": ("POST",),
    "/limits": ("GET", "POST"),
    "/metrics": ("GET",),
    "/events": ("GET",),
    "/healthz": ("GET",),
}
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


_PLAIN = "".join(chr(code) for code in range(32, 127) if chr(code) != "%")  # of a name in a header


def _bad(counts: Counts) -> None:
    counts.bad += 1


def _said(reply: Reply) -> dict[str, Any]:
    outputs = [_listed(output) for output in reply.outputs]
    return {
        "outputs": outputs[0] if len(outputs) == 1 else outputs,
        "variant": reply.variant,
        "ms": round(reply.ms, 3),
        "in_time": reply.in_time,
    }


def _listed(output: NDArray[Any]) -> Any:
    """As nested lists; JSON has neither NaN nor infinities, and null stands for them."""
    if output.dtype.kind == "f" and not (finite := np.isfinite(output)).all():
        output = output.astype(object)
        output[~finite] = None
    return output.tolist()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
