"""Parcels arrive whole or not at all."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest

from raysearch.backends.boards import receiver


def parcel(folder: Path, header=None, **files: bytes) -> bytes:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    stream = io.BytesIO()
    receiver.send(stream, header or {}, sorted(map(str, folder.iterdir())))
    return stream.getvalue()


def test_a_parcel_arrives_after_what_a_login_prints(tmp_path):
    sent = {"one": b"1\n" * 100_000, "empty": b"", "marked": receiver.MARK + b"{}\n"}
    data = b"Welcome\n\nLast login: never\n" + parcel(tmp_path / "from", {"exit": 0}, **sent)
    (tmp_path / "to").mkdir()
    assert receiver.receive(io.BytesIO(data), str(tmp_path / "to"))["exit"] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == sent


def test_a_parcel_that_ends_anywhere_is_none(tmp_path):
    data = parcel(tmp_path / "from", one=b"12345", two=b"6")
    for end in range(len(data)):
        with pytest.raises(EOFError, match="ended"):
            receiver.receive(io.BytesIO(data[:end]), str(tmp_path))


def test_files_that_nobody_expects_are_refused(tmp_path):
    data = parcel(tmp_path / "from", one=b"1")
    with pytest.raises(ValueError, match="file 'one' is not expected"):
        receiver.receive(io.BytesIO(data), str(tmp_path), allowed=("two",))
    for name in ("../one", "/tmp/one", "a/one"):
        outside = receiver.MARK + f'{{"files": [["{name}", 1]]}}\n1'.encode()
        with pytest.raises(ValueError, match="is not expected"):
            receiver.receive(io.BytesIO(outside), str(tmp_path), allowed=(name, "one"))


def test_it_is_one_file_that_an_old_python_reads():
    text = Path(receiver.__file__).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 7))
    assert "raysearch." not in text.replace("raysearch.pyz", "")
