"""The command serve: what it refuses before anything is started."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from budget_files import invoke
from served import front_folder

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
    assert "no front to serve" in refused(tmp_path / "none")


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
