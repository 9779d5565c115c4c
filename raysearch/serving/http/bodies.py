"""Bodies of requests as they come in, and answers as they go out, over ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from raysearch.serving.inputs import JSON

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_PATIENCE_S = 5.0  # for a whole body
_MOST_DISCARDED = 2**24  # bytes of a body that is refused
_DIGITS = 18  # of a length that may be one
_CLOSE = {"connection": "close"}


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        headers: beside the sentence.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, dict(headers or {})


async def whole_body(headers: Mapping[str, str], receive: Receive, most: int) -> bytes:
    """The whole body, of which no more than ``most`` bytes are ever held."""
    said = headers.get("content-length", "0")
    if not said.isdecimal() or len(said) > _DIGITS or int(said) > most:
        await _discarded(receive)
        raise Refusal(413, f"the body has {said[:20]} bytes: at most {most} are taken", _CLOSE)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await _collected(receive, most)
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {_PATIENCE_S:g} s", _CLOSE) from None


async def _collected(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    held = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the sender has gone", _CLOSE)
        parts.append(message.get("body", b""))
        held += len(parts[-1])
        if held > most:
            if message.get("more_body", False):
                await _discarded(receive)
            raise Refusal(413, f"the body has more than {most} bytes", _CLOSE)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _discarded(receive: Receive) -> None:
    """Read on, and keep nothing: a sender that finds the line closed does not read why."""
    read = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            while read < _MOST_DISCARDED:
                message = await receive()
                read += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


async def reply(
    send: Send, status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> None:
    """Send a document as JSON."""
    await raw(send, status, json.dumps(document).encode(), JSON, headers)


async def raw(
    send: Send, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
) -> None:
    """Send an answer of any kind, whole."""
    all_headers = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode("latin1"), value.encode("latin1")) for name, value in all_headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
