from __future__ import annotations

import importlib
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.runs import sources
from raysearch.runs.carried import Carried
from raysearch.runs.sources import own_sources

FILES = {
    "mine_task.py": "import mine_parts.nets as nets\n"
    "def make():\n    import mine_lazy\n    return nets.WIDTH + mine_lazy.ONE\n",
    "mine_lazy.py": "ONE = 1\n",
    "mine_parts/__init__.py": "",
    "mine_parts/nets.py": "from mine_parts.inner import late\nWIDTH = 6\n",
    "mine_parts/inner/__init__.py": "from . import late\n",
    "mine_parts/inner/late.py": "TEXT = 'grün'\ndef fail():\n    raise ValueError('here')\n",
    "mine_space/bare.py": "VALUE = 3\n",
    "mine_parts/labels.txt": "a\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that only this process's ``sys.path`` finds, some of them imported."""
    for name, text in FILES.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    importlib.import_module("mine_task")
    importlib.import_module("mine_space.bare")
    yield tmp_path / "own"
    for name in [n for n in sys.modules if n.startswith("mine_")]:
        del sys.modules[name]


def elsewhere(carried: object, code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What a process that does not see the folder any more prints of what was carried to it."""
    (tmp_path / "carried").write_bytes(pickle.dumps(Carried(carried)))
    shutil.rmtree(tmp_path / "own")
    code = f"import pickle; it = pickle.load(open({str(tmp_path / 'carried')!r}, 'rb')); {code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")


def test_modules_go_along_to_where_the_disk_is_not_seen(place: Path, tmp_path: Path) -> None:
    make = sys.modules["mine_task"].make
    done = elsewhere(make, "import mine_space.bare as b; print(it(), b.VALUE, it.__module__)", tmp_path)
    assert done.stdout.split() == ["7", "3", "mine_task"], done.stderr


def test_a_failure_there_names_the_file_and_line(place: Path, tmp_path: Path) -> None:
    fail = sys.modules["mine_parts.inner.late"].fail
    done = elsewhere(fail, "import inspect; print(inspect.getsource(it)); it()", tmp_path)
    assert f'File "{place}/mine_parts/inner/late.py", line 3, in fail' in done.stderr
    assert "raise ValueError('here')" in done.stdout


def test_a_file_that_is_there_is_imported_from_the_disk(place: Path) -> None:
    found = own_sources([str(place)])
    assert found["mine_task"].is_here()
    assert found["mine_space"].is_here()  # a package without a file
    (place / "mine_lazy.py").write_text("ONE = 2\n")
    assert not found["mine_lazy"].is_here()


def test_what_is_imported_and_what_lies_beside_it_goes_along(place: Path) -> None:
    found = own_sources([str(place)])
    assert set(found) == {
        "mine_task",
        "mine_lazy",
        "mine_parts",
        "mine_parts.nets",
        "mine_parts.inner",
        "mine_parts.inner.late",
        "mine_space",
        "mine_space.bare",
    }
    assert own_sources(["/nowhere"]) == {}


def test_an_environment_in_the_folder_does_not_go_along(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = place / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "mine_dependency.py").write_text("")
    monkeypatch.syspath_prepend(str(installed))
    importlib.import_module("mine_dependency")
    assert "mine_dependency" not in own_sources([str(place)])


def test_more_than_a_worker_should_be_sent_is_said_where_it_is_missing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "mine_huge.py").write_text("#" * 5000)
    monkeypatch.setattr(sources, "MOST", 2000)
    monkeypatch.setattr("raysearch.runs.carried.own_places", lambda: [str(place)])  # not these tests' modules
    done = elsewhere(sys.modules["mine_task"].make, "print(it()); import mine_huge", tmp_path)
    assert done.stdout.strip() == "7"
    assert "mine_huge.py is not on this worker, and lies among more than" in done.stderr
    assert "runtime_env" in done.stderr
