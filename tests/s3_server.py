"""An S3 server of this machine (moto's), in a process of its own, that fails as real ones do when told to.

with S3Server() as server:
    server.make("bucket")
    server.fail(0.05)     # this share of requests: answered by 500 or 503, or the connection is cut
    server.vanish(20)     # nothing listens for so many seconds
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec

_CONTROL = "/_faults"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    """The server's process, and what a test tells it."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(self.port)],
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> S3Server:
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # those know another server's address
        deadline = time.monotonic() + 60
        while True:
            try:
                self.counts()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    raise
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What points a client to it."""
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.url}

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{bucket}", method="PUT")).read()

    def fail(self, share: float, seed: int = 0) -> None:
        """Let a share of requests fail from now on."""
        self._tell(share=share, seed=seed)

    def vanish(self, seconds: float) -> None:
        """Let nothing listen for so long."""
        self._tell(away=seconds)

    def counts(self) -> dict[str, int]:
        """How many requests were answered, failed and put, so far."""
        return dict(self._tell())

    def _tell(self, **said: Any) -> Any:
        request = urllib.request.Request(f"{self.url}{_CONTROL}", data=json.dumps(said).encode())
        return json.loads(urllib.request.urlopen(request, timeout=10).read())


def _free_port() -> int:
    """One that no client is given as its own while the server is away."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


class _Faulty:
    """moto's application behind its faults."""

    def __init__(self, port: int) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self._app = DomainDispatcherApplication(create_backend_app)
        self._port, self._share, self._random = port, 0.0, random.Random(0)
        self._counts = {"answered": 0, "failed": 0, "put": 0}
        self._server: Any = None
        self._away = 0.0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == _CONTROL:
            return self._control(environ, start)
        self._counts["put"] += environ["REQUEST_METHOD"] == "PUT"
        if self._random.random() < self._share:
            self._counts["failed"] += 1
            return self._failed(environ, start)
        self._counts["answered"] += 1
        return list(self._app(environ, start))

    def _failed(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        how = self._random.choice(["500", "503", "cut", "late"])
        if how == "late":  # it was done, and nobody hears of it
            list(self._app(environ, lambda *_: None))
        if how in ("cut", "late"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError(how)
        code = {"500": "InternalError", "503": "ServiceUnavailable"}[how]
        answer = f"<Error><Code>{code}</Code><Message>We failed</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(answer)))]
        environ["wsgi.input"].read(
            int(environ.get("CONTENT_LENGTH") or 0)
        )  # what is left spoils the connection
        start(f"{how} {code}", headers)
        return [answer]

    def _control(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        said = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        if "share" in said:
            self._share, self._random = said["share"], random.Random(said["seed"])
        if "away" in said:
            self._away = said["away"]
            threading.Thread(target=self._server.shutdown).start()
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self._counts).encode()]

    def serve(self) -> None:
        """Serve for ever, but for the whiles that it is away."""
        from werkzeug.serving import make_server

        while True:
            try:
                self._server = make_server("127.0.0.1", self._port, self, threaded=True)
            except (OSError, SystemExit):  # the port is not free again yet
                time.sleep(0.2)
                continue
            self._server.serve_forever()
            self._server.server_close()
            time.sleep(self._away)


if __name__ == "__main__":
    _Faulty(int(sys.argv[1])).serve()
