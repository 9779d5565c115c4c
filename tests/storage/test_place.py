from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from raysearch.basics.extras import MissingExtra
from raysearch.basics.failures import UserError
from raysearch.storage import Remote, folder_of, resolved


def test_what_is_no_url_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_of("runs/digits") == Path("runs/digits")
    assert folder_of(tmp_path) == tmp_path
    assert folder_of("file:///data/runs") == Path("/data/runs")
    assert folder_of("s3:local") == Path("s3:local")
    monkeypatch.chdir(tmp_path)
    assert resolved("runs") == tmp_path / "runs"


def test_a_url_is_a_place_with_parts() -> None:
    place = folder_of("memory://bucket/runs/digits/")
    assert str(place) == "memory://bucket/runs/digits"
    assert (place / "variants" / "0007").name == "0007"
    assert place / "a" / "b" == place / "a/b"
    assert str(place.parent) == "memory://bucket/runs"
    assert pickle.loads(pickle.dumps(place)) == place
    assert folder_of(place) is place
    assert resolved(place) is place


@pytest.mark.parametrize(
    "given", ["memory://bucket/runs", Path("memory://bucket/runs"), "memory:/bucket/runs"]
)
def test_a_path_has_lost_a_slash_of_its_url(given: str | Path) -> None:
    assert folder_of(given) == Remote("memory://bucket/runs")


@pytest.mark.parametrize("given", ["s3://", "gs:///", "memory://"])
def test_a_url_without_a_bucket_is_refused(given: str) -> None:
    with pytest.raises(UserError, match=r"names no bucket: write \w+://BUCKET/FOLDER$"):
        folder_of(given)


@pytest.mark.parametrize("given", ["memory://bucket", "memory://bucket/", Remote("s3://bucket")])
def test_a_whole_bucket_is_refused(given: str | Remote) -> None:
    with pytest.raises(UserError, match=r"^(\w+://bucket) is a whole bucket: name a folder in it"):
        folder_of(given)


@pytest.mark.parametrize("given", ["sftp://host/runs", "http://host/runs", "hdfs://host/runs", "S4://x"])
def test_storage_without_whole_files_is_refused_in_one_sentence(given: str) -> None:
    with pytest.raises(
        UserError, match=r"a run lives in a folder of a disk or in s3:// or gs://: name one of"
    ):
        folder_of(given)


@pytest.mark.parametrize(("given", "extra"), [("s3://b/x", "s3"), ("s3a://b/x", "s3"), ("gcs://b/x", "gs")])
def test_a_missing_package_names_its_command(given: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.basics.extras.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf'run `pip install "raysearch\[{extra}\]"`'):
        folder_of(given)
