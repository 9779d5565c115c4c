import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from raysearch.trainables.data.idx import MNIST_CLASSES, idx_images, read_idx

DATA = Path(os.environ.get("RAYSEARCH_DATA", Path(__file__).parents[4] / "shared" / "data"))


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, zipped):
    folder.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", 60), ("t10k", 20)):
        arrays = {
            "images-idx3": np.random.default_rng(n).integers(0, 256, (n, 28, 28)),
            "labels-idx1": np.arange(n) % 10,
        }
        for kind, array in arrays.items():
            data = idx(array.astype(np.uint8))
            path = folder / f"{split}-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(data) if zipped else data)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", ["", "MNIST/raw"])
def test_files_plain_or_zipped_here_or_where_torchvision_puts_them(tmp_path, zipped, inside):
    write(tmp_path / inside, zipped)
    splits = idx_images(tmp_path, "MNIST", MNIST_CLASSES, seed=1)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [50, 10, 20]
    assert splits.image_shape == (1, 28, 28)
    assert splits.test.tensors[1][:3].tolist() == [0, 1, 2]


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"has no train-images-idx3-ubyte, plain or \.gz"):
        idx_images(tmp_path, "MNIST", MNIST_CLASSES)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x", b"hello", "is no idx file of unsigned bytes"),
        ("x", idx(np.zeros((3, 2), np.uint8))[:-1], r"says shape \(3, 2\), but holds 5 bytes"),
        ("x.gz", b"hello", "cannot be unpacked"),
        ("x.gz", gzip.compress(b"hello" * 50, mtime=0)[:-12], "cannot be unpacked"),
    ],
)
def test_damaged_files(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / name)


def test_the_real_mnist():
    if not (DATA / "mnist").is_dir():
        pytest.skip(f"no MNIST in {DATA}")
    labels = read_idx(DATA / "mnist" / "t10k-labels-idx1-ubyte.gz")
    images = read_idx(DATA / "mnist" / "t10k-images-idx3-ubyte.gz")
    assert images.shape == (10000, 28, 28)
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
