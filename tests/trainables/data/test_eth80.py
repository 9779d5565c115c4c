import os
from pathlib import Path

import numpy as np
import pytest

from raysearch.trainables.data.eth80 import eth80, fold

DATA = Path(os.environ.get("RAYSEARCH_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture
def file(tmp_path):
    """30 objects of 3 classes, 2 views of 8 x 8; an object's first pixel says which it is."""
    x = np.random.default_rng(0).integers(0, 256, (30, 2, 8, 8, 3)).astype(np.uint8)
    path = tmp_path / "views.npz"
    np.savez(path, x=x, y=np.arange(30) // 10, classes=np.array(["a", "b", "c"]))
    return path


def test_images_are_averaged_over_blocks(file):
    views = eth80(file, size=4)
    x = np.load(file)["x"]
    assert views.images.shape == (30, 2, 3, 4, 4)
    assert views.images[7, 1, 2, 3, 0].item() == pytest.approx(x[7, 1, 6:8, 0:2, 2].mean() / 255)
    assert views.classes == ("a", "b", "c")


def test_each_object_is_tested_once_and_validates_once(file):
    views = eth80(file, size=8)
    for part in ("test", "validation"):
        seen = []
        for index in range(5):
            splits = fold(views, index)
            x, y = getattr(splits, part).tensors
            assert np.bincount(y).tolist() == [2, 2, 2]
            inside = splits.train.tensors[0]
            assert len(inside) == 18
            assert inside.mean().item() == pytest.approx(0, abs=1e-4)
            scaled = views.images.flatten(1)
            # Normalising is affine, so an object keeps the order of its pixels within a channel.
            seen += [_same(scaled, row.flatten()) for row in x]
        assert sorted(seen) == list(range(30))


def _same(images, row):
    """Which object a normalised one is."""
    order = row[:64].argsort(stable=True)
    return next(i for i, image in enumerate(images) if (image[:64][order].diff() >= 0).all())


def test_the_same_seed_gives_the_same_folds(file):
    views = eth80(file, size=8)
    first, again, other = (fold(views, 1, seed=seed).test.tensors[0] for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize(("index", "folds"), [(5, 5), (0, 2), (0, 11)])
def test_folds_that_do_not_exist(file, index, folds):
    with pytest.raises(ValueError, match="give 3 to 10 folds"):
        fold(eth80(file, size=8), index, folds)


def test_bad_files(file, tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.npz does not exist"):
        eth80(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match="size is 3: it must divide the images' size, 8"):
        eth80(file, size=3)
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros(3))
    with pytest.raises(ValueError, match="is no file of views with the arrays x, y, classes"):
        eth80(other)
    single = tmp_path / "single.npy"
    np.save(single, np.zeros(3))
    for content in (b"hello", b"", single.read_bytes()):
        other.write_bytes(content)
        with pytest.raises(ValueError, match="is no file of views"):
            eth80(other)


def test_the_real_photographs():
    path = DATA / "eth80" / "eth80_ring12.npz"
    if not path.is_file():
        pytest.skip(f"no ETH-80 in {DATA}")
    views = eth80(path)
    assert views.images.shape == (80, 12, 3, 32, 32)
    assert np.bincount(views.labels).tolist() == [10] * 8
    assert views.classes[0] == "apple"
