"""The benchmark of masks, on made-up files of the same format."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest

from benchmarks import masks

FILES = {
    "train-images-idx3-ubyte.gz": (600, 28, 28),
    "train-labels-idx1-ubyte.gz": (600,),
    "t10k-images-idx3-ubyte.gz": (100, 28, 28),
    "t10k-labels-idx1-ubyte.gz": (100,),
}


@pytest.fixture
def folder(tmp_path):
    """Images whose class is where they are bright."""
    rng = np.random.default_rng(0)
    for name, shape in FILES.items():
        labels = np.arange(shape[0]) % 10
        data = labels
        if len(shape) == 3:
            data = rng.integers(0, 60, shape)
            data[np.arange(shape[0]), 2 + 2 * labels] = 255
        head = b"\x00\x00\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        (tmp_path / name).write_bytes(gzip.compress(head + data.astype(np.uint8).tobytes()))
    return tmp_path


@pytest.mark.slow
def test_it_takes_any_files_of_the_format(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(masks, "EVALUATIONS", 60)
    monkeypatch.setattr(masks, "SIZE", 50)
    plot = tmp_path / "plot.html"
    data = folder / "train-images-idx3-ubyte.gz"
    masks.main(["--data", str(data), "--seeds", "2", "--json", "--plot", str(plot)])
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["benchmark"] == "masks"
    assert set(found) == {"benchmark", "figures", "peers"}
    for at in ("41.33", "43.84", "80", "90", "95"):
        margin = found["figures"][f"accuracy@{at}"] - found["figures"][f"magnitude@{at}"]
        assert found["figures"][f"margin@{at}"] == pytest.approx(margin, abs=1e-3)
    assert found["peers"]["published annealing"]["accuracy"] == 87.44
    assert 0 < found["peers"]["genetic by layer"]["sparsity"] < 100
    assert len(table) == 2 + len(masks.SEARCHES) + len(masks.STUDY)
    assert "conv1" in plot.read_text()


def test_missing_files_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        masks.main(["--data", str(tmp_path / "nowhere")])
    assert stop.value.code == 2
    assert "nowhere does not exist" in capsys.readouterr().err
