import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from raysearch.trainables.data.cifar import cifar10_images, crop_and_flip

DATA = Path(os.environ.get("RAYSEARCH_DATA", Path(__file__).parents[4] / "shared" / "data"))


def write(path, **other):
    arrays = {
        "x_train": np.zeros((40, 32, 32, 3), np.uint8),
        "y_train": np.arange(40) % 10,
        "x_test": np.zeros((10, 32, 32, 3), np.uint8),
        "y_test": np.arange(10),
    }
    arrays.update(other)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


def test_an_archive_in_a_folder_or_by_its_name(tmp_path):
    write(tmp_path / "a.npz")
    for place in (tmp_path, tmp_path / "a.npz"):
        splits = cifar10_images(place)
        assert splits.image_shape == (3, 32, 32)
        assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [30, 10, 10]


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match=r"neither an \.npz archive nor cifar-10-batches-py"):
        cifar10_images(tmp_path)
    write(tmp_path / "a.npz", y_test=None)
    with pytest.raises(ValueError, match="has no array 'y_test'"):
        cifar10_images(tmp_path)
    write(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"has 2 \.npz archives"):
        cifar10_images(tmp_path)
    (tmp_path / "c.npz").write_bytes(b"hello")
    with pytest.raises(ValueError, match="is no NumPy archive"):
        cifar10_images(tmp_path / "c.npz")


def test_torchvisions_folder_needs_torchvision(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ValueError, match=r'pip install "raysearch\[vision\]"'):
        cifar10_images(tmp_path)


def test_every_crop_is_a_shifted_perhaps_mirrored_image():
    torch.manual_seed(0)
    image = torch.arange(1.0, 73.0).view(1, 2, 6, 6)
    padded = torch.nn.functional.pad(image, (4,) * 4)
    possible = {
        tuple(crop.flatten().tolist())
        for top in range(9)
        for left in range(9)
        for crop in (padded[0, :, top : top + 6, left : left + 6],)
        for crop in (crop, crop.flip(-1))
    }
    cropped = crop_and_flip(image.expand(300, 2, 6, 6))
    assert cropped.shape == (300, 2, 6, 6)
    seen = {tuple(c.flatten().tolist()) for c in cropped}
    assert seen <= possible
    assert len(seen) > 100


def test_the_real_subset():
    if not (DATA / "cifar10").is_dir():
        pytest.skip(f"no CIFAR-10 in {DATA}")
    splits = cifar10_images(DATA / "cifar10")
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [9000, 1000, 2000]
    assert torch.bincount(splits.validation.tensors[1]).tolist() == [100] * 10
