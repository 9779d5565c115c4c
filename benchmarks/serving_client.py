"""An open-loop HTTP client: requests leave when a trace says so, whatever has become of those before."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GIVEN_UP_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        status: of HTTP; 0 where the connection broke.
        ms: from when it was due to its answer.
        document: what was answered.
    """

    status: int
    ms: float
    document: Mapping[str, Any] = field(default_factory=dict)


class Client:
    """Keeps connections open, and takes one that is free for each request."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.under_way = 0

    async def post(self, path: str, body: bytes, kind: str, due: float, *, extra: str = "") -> Answer:
        """Send a request that is due at a time of ``time.perf_counter``."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: {kind}\r\n{extra}"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self.under_way += 1
        try:
            async with asyncio.timeout(_GIVEN_UP_S):
                status, document = await self._exchange(head.encode() + body)
        except (OSError, EOFError, TimeoutError, ValueError):
            status, document = 0, {}
        finally:
            self.under_way -= 1
        return Answer(status, 1e3 * (time.perf_counter() - due), document)

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, Any]]:
        reader, writer = self._free.pop() if self._free else await self._open()
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if "connection: close" in head:
            writer.close()
        else:
            self._free.append((reader, writer))
        return int(head.split(" ", 2)[1]), json.loads(body)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)


async def replay(
    client: Client, arrivals: Sequence[float], images: NDArray[np.float32], labels: NDArray[np.int64]
) -> list[Answer]:
    """Send a trace's requests, an image each in turn, and wait for all answers.

    Args:
        client: sends them.
        arrivals: in ms from now on.
        images: (n, 1, height, width).
        labels: (n,), sent beside them.
    """
    bodies = [npy(image) for image in images]
    start = time.perf_counter() + 0.1
    tasks = []
    for number, arrival in enumerate(arrivals):
        due = start + arrival / 1e3
        while (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left if left > 2e-3 else 0)
        place = number % len(bodies)
        label = f"x-label: {labels[place]}\r\n"
        tasks.append(
            asyncio.create_task(client.post("/predict", bodies[place], "application/x-npy", due, extra=label))
        )
    return list(await asyncio.gather(*tasks))


def npy(array: NDArray[Any]) -> bytes:
    """An array as the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
