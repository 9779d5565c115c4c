"""The image and the runtime environments: parsed, what is copied tried, the script run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cluster_files import CLUSTERS, ROOT, pins, read

import raysearch
from raysearch.version import __version__

INSTRUCTIONS = {"FROM", "RUN", "COPY", "WORKDIR"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, lines that go on joined."""
    text = (CLUSTERS / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in pairs]


def copied() -> dict[str, str]:
    """What the Dockerfile copies, with where it goes to."""
    found = {}
    for name, rest in instructions():
        if name == "COPY":
            *sources, target = [word for word in rest.split() if not word.startswith("--")]
            found |= dict.fromkeys(sources, target)
    return found


def test_the_image_is_of_rays_version_and_python() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) <= INSTRUCTIONS
    assert names[0] == "FROM"
    assert names.count("FROM") == 1
    assert instructions()[0][1] == f"rayproject/ray:{pins()['ray']}-py311"


def test_shell_commands_parse() -> None:
    commands = [rest for name, rest in instructions() if name == "RUN"]
    assert commands
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)
    assert all("-c constraints.txt" in c or "--no-deps" in c for c in commands if "pip install" in c)


def test_what_is_copied_is_there_and_is_not_ignored() -> None:
    ignored = (CLUSTERS / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    for source in copied():
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


def test_the_whole_package_is_in_what_is_copied(tmp_path: Path) -> None:
    for source, target in copied().items():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / target, symlinks=True)  # as COPY does
    find = "from setuptools import find_packages; print(*find_packages(include=['raysearch*']))"
    done = subprocess.run(
        [sys.executable, "-c", find], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    package = Path(raysearch.__file__).parent
    folders = {path.parent.relative_to(package.parent) for path in package.glob("*/*.py")}
    assert {".".join(folder.parts) for folder in folders} <= set(done.stdout.split())
    assert {"raysearch.backends", "raysearch.search_spaces", "raysearch.trainables"} <= {
        ".".join(folder.parts) for folder in folders
    }


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_jobs_packages_have_the_tested_versions(tool: str) -> None:
    pytest.importorskip("ray")
    from ray.runtime_env import RuntimeEnv

    environment = RuntimeEnv(**read(f"{tool}.yaml"))
    versions = dict(line.split("==") for line in environment[tool]["packages"])
    assert versions.pop("raysearch") == __version__
    assert versions == {name: pins()[name] for name in versions}
    assert "ray" not in versions  # Ray refuses another one than its own


def test_ray_refuses_a_wrong_environment() -> None:
    pytest.importorskip("ray")
    from ray.runtime_env import RuntimeEnv

    wrong = read("pip.yaml")
    wrong["pip"]["package"] = wrong["pip"].pop("packages")
    with pytest.raises(ValueError):
        RuntimeEnv(**wrong)


class _Metadata(BaseHTTPRequestHandler):
    """What a cloud tells a machine of itself; a spot machine's end is announced at the third question."""

    cloud = ""
    asked = 0

    def _answer(self, text: str | None) -> None:
        self.send_response(200 if text is not None else 404)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def do_PUT(self) -> None:
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self._answer("secret" if self.cloud == "aws" and seconds else None)

    def do_GET(self) -> None:
        aws = self.path == "/latest/meta-data/spot/instance-action"
        google = self.path == "/computeMetadata/v1/instance/preempted"
        if aws and self.cloud == "aws" and self.headers.get("X-aws-ec2-metadata-token") == "secret":
            type(self).asked += 1
            self._answer('{"action": "terminate"}' if self.asked >= 3 else None)
        elif google and self.cloud == "google" and self.headers.get("Metadata-Flavor") == "Google":
            type(self).asked += 1
            self._answer("TRUE" if self.asked >= 3 else "FALSE")
        else:
            self._answer(None)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def metadata(cloud: str) -> Iterator[tuple[str, type[_Metadata]]]:
    kind = type("Cloud", (_Metadata,), {"cloud": cloud, "asked": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("cloud", "seconds"), [("aws", "110"), ("google", "25")])
def test_a_node_is_drained_once_its_machine_is_taken_back(tmp_path: Path, cloud: str, seconds: str) -> None:
    for name, text in {"ray": 'echo "$RAY_ADDRESS" "$@"', "sleep": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    with metadata(cloud) as (url, kind):
        places = {"AWS_METADATA": url, "GOOGLE_METADATA": url, "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            [CLUSTERS / "drain_on_notice.sh", "10.0.0.1:6379"],
            env={**os.environ, **places, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert kind.asked == 3
    words = done.stdout.split()
    assert words[:3] == ["10.0.0.1:6379", "drain-node", "--address=10.0.0.1:6379"]
    assert "--reason=DRAIN_NODE_REASON_PREEMPTION" in words
    assert f"--deadline-remaining-seconds={seconds}" in words
