from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import ray

from raysearch.runs.carried import Carried, own_places

MODULE = "class Data:\n    def __len__(self):\n        return 7\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """An object of a module that only this process's ``sys.path`` finds."""
    (tmp_path / "carried_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("carried_data").Data()


def test_own_places_are_absolute_and_not_pythons(data: object, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/nowhere", *sys.path])
    places = own_places()
    assert places[0] == str(tmp_path)
    assert "/nowhere" not in places
    assert not any(p.startswith(sysconfig.get_path("purelib")) for p in places)
    assert len(set(places)) == len(places)


def test_it_is_itself_where_it_arrives(data: object, tmp_path: Path) -> None:
    (tmp_path / "carried").write_bytes(pickle.dumps(Carried({"data": data})))
    code = f"import pickle; print(len(pickle.load(open({str(tmp_path / 'carried')!r}, 'rb'))['data']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "7", done.stderr


def test_where_it_arrives_is_the_drivers_folder_where_there_is_one(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    carried = pickle.dumps(Carried(1))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(carried) == 1
    assert Path.cwd() == tmp_path / "here"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rmdir()
    assert pickle.loads(carried) == 1
    assert Path.cwd() == tmp_path


def size(data: object) -> int:
    return len(data)  # type: ignore[arg-type]


@pytest.mark.cluster
def test_a_worker_of_a_cluster_that_runs_already_finds_the_modules(cluster: None, data: object) -> None:
    count = ray.remote(size)
    with pytest.raises(ray.exceptions.RayError, match="carried_data"):
        ray.get(count.remote(data))
    assert ray.get(count.remote(Carried(data))) == 7
    assert ray.get(count.remote(ray.put(Carried(data)))) == 7
