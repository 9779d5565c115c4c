import numpy as np
import pytest

from raysearch.trainables.data.image_folder import folder_images

PIL = pytest.importorskip("PIL.Image")


def write(folder, classes=("cat", "dog"), n=10):
    for i, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for k in range(n):
            pixels = np.full((12, 9 + k, 3), 100 * i + k, np.uint8)
            PIL.fromarray(pixels).save(folder / name / f"{k}.png")


def test_a_folder_for_each_class(tmp_path):
    write(tmp_path)
    splits = folder_images(tmp_path, size=8)
    assert splits.classes == ("cat", "dog")
    assert splits.image_shape == (3, 8, 8)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [14, 2, 4]


def test_folders_for_training_and_testing(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "test", n=3)
    splits = folder_images(tmp_path, size=4)
    assert len(splits.test) == 6
    assert splits.test.tensors[1].tolist() == [0, 0, 0, 1, 1, 1]


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder"):
        folder_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds 0 folders"):
        folder_images(tmp_path)
    with pytest.raises(ValueError, match="size is 0"):
        folder_images(tmp_path, size=0)
    write(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no image"):
        folder_images(tmp_path)
    (tmp_path / "empty" / "a.png").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image"):
        folder_images(tmp_path)
