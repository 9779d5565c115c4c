import torch

from raysearch.trainables.data.digits import digits


def test_the_digits_are_split_once_by_seed():
    splits = digits()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [1079, 359, 359]
    assert splits.image_shape == (1, 8, 8)
    assert torch.equal(digits().test.tensors[0], splits.test.tensors[0])
    assert not torch.equal(digits(seed=1).test.tensors[1], splits.test.tensors[1])
