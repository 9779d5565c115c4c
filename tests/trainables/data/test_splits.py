import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysearch.trainables.data.splits import make_splits, stratified


@given(st.lists(st.integers(0, 3), min_size=8, max_size=80), st.floats(0.1, 0.6), st.integers(0, 5))
def test_parts_are_disjoint_complete_and_stratified(labels, share, seed):
    labels = np.array([*labels, *labels])
    first, second = stratified(labels, share, seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for label in np.unique(labels):
        members, held_out = (labels == label).sum(), (labels[second] == label).sum()
        assert held_out == max(1, round(share * members))
    again = stratified(labels, share, seed)
    assert all(np.array_equal(a, b) for a, b in zip((first, second), again, strict=True))


def images(n=40, classes=4, channels=None):
    random = np.random.default_rng(0)
    shape = (n, 6, 5) if channels is None else (n, 6, 5, channels)
    return random.integers(0, 256, shape, dtype=np.uint8), np.arange(n) % classes


def test_images_are_normalised_by_the_training_split():
    splits = make_splits(images(channels=3), images(8, channels=3), classes=tuple("abcd"), seed=0)
    x = splits.train.tensors[0]
    assert x.dtype == torch.float32
    assert splits.image_shape == (3, 6, 5)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [36, 4, 8]
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std((0, 2, 3)), torch.ones(3), atol=1e-5)


def test_without_a_test_split_a_share_is_held_out():
    splits = make_splits(images(), None, classes=tuple("abcd"), seed=0)
    assert splits.image_shape == (1, 6, 5)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 40
    assert len(splits.test) == 8


def test_a_seed_for_the_validation_leaves_a_given_test_split_alone():
    first, second = (make_splits(images(), images(8), classes=tuple("abcd"), seed=s) for s in (0, 1))
    assert not torch.equal(first.validation.tensors[0], second.validation.tensors[0])
    assert torch.equal(first.test.tensors[1], second.test.tensors[1])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((np.zeros((4, 3), np.uint8), np.zeros(4, int)), r"images of shape \(4, 3\)"),
        ((np.zeros((4, 3, 3), np.uint8), np.zeros(5, int)), r"classes of shape \(5,\) do not fit"),
        ((np.zeros((4, 3, 3), np.uint8), np.full(4, 7)), "classes go from 7 to 7, and there are 4 names"),
        ((np.zeros((4, 3, 3), np.uint8), np.arange(4)), "4 examples cannot be split"),
    ],
)
def test_bad_arrays(train, message):
    with pytest.raises(ValueError, match=message):
        make_splits(train, None, classes=tuple("abcd"), seed=0)


def test_a_bad_share():
    with pytest.raises(ValueError, match=r"share is 1\.0, not in"):
        stratified(np.zeros(4), 1.0, 0)
