"""How `raysearch serve --update` reaches the process that serves: a socket that only its user may open."""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket

from raysearch.basics.failures import RunError, UserError, failure

_LONGEST = 1 << 16


@contextlib.contextmanager
def listening(port: int, update: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, ``ask`` has ``update`` called with the front that it names.

    Args:
        port: that is served, which tells several servers of a machine apart.
        update: raises UserError where it refuses.
    """

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                update(json.loads(self.rfile.read(_LONGEST))["run"])
                said = {"error": ""}
            except Exception as error:  # told to whoever asked; the server goes on
                said = {"error": str(error) if isinstance(error, UserError) else failure(error)}
            self.wfile.write(json.dumps(said).encode())

    place = _place(port)
    place.unlink(missing_ok=True)
    mask = os.umask(0o077)
    try:
        server = socketserver.ThreadingUnixStreamServer(str(place), Answer)
    finally:
        os.umask(mask)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="raysearch-serving-control", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        place.unlink(missing_ok=True)


def ask(port: int, run: str) -> None:
    """Have what is served on a port of this machine serve another front.

    Raises:
        RunError: nothing is served there by this user.
        UserError: the front is refused, and the old one goes on.
    """
    place = _place(port)
    with socket(AF_UNIX, SOCK_STREAM) as line:
        try:
            if place.stat().st_uid != os.getuid():
                raise ConnectionRefusedError
            line.connect(str(place))
        except OSError:
            raise RunError(f"nothing is served on port {port} here: start it without --update") from None
        line.sendall(json.dumps({"run": run}).encode())
        line.shutdown(SHUT_WR)
        answer = json.loads(b"".join(iter(lambda: line.recv(_LONGEST), b"")) or '{"error": "it has ended"}')
    if answer["error"]:
        raise UserError(f"the old front goes on: {answer['error']}")


def _place(port: int) -> Path:
    return Path(tempfile.gettempdir()) / f"raysearch-serving-{os.getuid()}-{port}.sock"
