"""Arrays come back as they were, under whatever names a network gives its inputs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from raysearch.backends.boards.folder import read_batches, write_batches

BATCHES = [
    [np.arange(6, dtype=np.int64).reshape(2, 3), np.float32([[1.5], [-0.0]])],
    [np.zeros((0, 3), np.int64), np.array([[True, False]])],
    [np.array("text"), np.float16([np.nan])],
]


def test_batches_come_back(tmp_path):
    many = BATCHES * 5  # more than ten: their names do not sort as their numbers do
    write_batches(tmp_path / "a.npz", many)
    found = read_batches(tmp_path / "a.npz")
    assert len(found) == len(many)
    for batch, original in zip(found, many, strict=True):
        for array, before in zip(batch, original, strict=True):
            assert (array.dtype, array.shape) == (before.dtype, before.shape)
            np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    "array",
    [np.array([{}]), np.zeros(2, ml_dtypes.bfloat16), np.zeros(2, [("a", "f4")])],
    ids=["object", "bfloat16", "record"],
)
def test_what_numpy_does_not_keep_is_refused(tmp_path, array):
    with pytest.raises(ValueError, match=r"bject|know no"):
        write_batches(tmp_path / "a.npz", [[array]])


@pytest.mark.parametrize("names", [["1.0"], ["0.1"], ["0.0", "0.2"], ["0.0", "2.0"], ["0.0", "x"], ["0"]])
def test_arrays_out_of_their_order_are_refused(tmp_path, names):
    np.savez(tmp_path / "a.npz", **{name: np.zeros(1) for name in names})
    with pytest.raises(ValueError):
        read_batches(tmp_path / "a.npz")


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{"0.0": np.array([{}])})
    with pytest.raises(ValueError, match="allow_pickle"):
        read_batches(tmp_path / "a.npz")
