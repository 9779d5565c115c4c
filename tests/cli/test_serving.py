"""The command serve: what it refuses before anything is started."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from budget_files import invoke
from served import front_folder, onnx_file

EXTRA = "Ray Serve is not installed: raysearch[serve]"


def refused(*arguments: object) -> str:
    done = invoke("serve", *arguments, "--json")
    assert done.exit_code == 2, done.output
    return str(json.loads(done.stdout)["error"])


def test_bad_arguments_are_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason=EXTRA)
    pytest.importorskip("uvicorn", reason=EXTRA)
    run = front_folder(tmp_path / "run")
    assert "--host is 0.0.0.0: others can reach it, so give a --token" in refused(run, "--host", "0.0.0.0")
    assert "slo_ms is 0.0: give a positive number" in refused(run, "--slo-ms", 0)
    assert "did you mean 'plan'" in refused(run, "--rule", "plam")
    assert "--replicas is 'many'" in refused(run, "--replicas", "many")
    assert "--replicas is 'many'" in refused(run, "--replicas", "many")
    assert "min_replicas is 0" in refused(run, "--replicas", 0)
    assert "no front to serve" in refused(tmp_path / "none")


def test_what_replicas_could_not_serve_is_a_sentence_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette", reason=EXTRA)
    pytest.importorskip("uvicorn", reason=EXTRA)
    import ray

    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = front_folder(tmp_path / "run", (1, 2))
    assert "max_memory_mb is 0.01: the smallest model" in refused(run, "--max-memory-mb", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port} cannot be listened on" in refused(run, "--port", port)
    assert "cannot be listened on" in refused(run, "--host", "no.such.host.invalid", "--token", "x")
    onnx_file(run / "v2" / "model.onnx", 2, size=5)
    assert "variants that are served together take the same inputs" in refused(run)
    torn = run / "v2" / "model.onnx"
    torn.write_bytes(torn.read_bytes()[:300])
    assert "cut off" in refused(run)


@pytest.mark.parametrize(
    "option",
    [("--slo-ms", 5), ("--rule", "rate"), ("--replicas", 2), ("--token", "x"), ("--max-memory-mb", 9)],
)
def test_an_update_changes_the_front_alone(tmp_path: Path, option: tuple[str, object]) -> None:
    pytest.importorskip("starlette", reason=EXTRA)
    pytest.importorskip("uvicorn", reason=EXTRA)
    said = refused(front_folder(tmp_path), "--update", *option)
    assert f"{option[0]} is given with --update" in said


def test_nothing_to_update(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason=EXTRA)
    pytest.importorskip("uvicorn", reason=EXTRA)
    port = 40_000 + os.getpid() % 10_000
    done = invoke("serve", front_folder(tmp_path), "--update", "--port", port)
    assert done.exit_code == 1
    assert "start it without --update" in done.output


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda name, *rest: None if name == "starlette" else find(name, *rest)
    )
    assert 'pip install "raysearch[serve]"' in refused(front_folder(tmp_path))
