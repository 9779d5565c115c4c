import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from raysearch.trainables.data.checks import check_finite, check_labels


class Pairs(Dataset):
    """Made one by one."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


def data(n=3000):
    return torch.zeros(n, 2, 3), torch.arange(n) % 4


@pytest.mark.parametrize("row", [0, 2999])
@pytest.mark.parametrize("label", [4, -1])
def test_tensors_are_looked_at_to_the_end(row, label):
    x, y = data()
    check_labels(TensorDataset(x, y), None, "test", 4)
    y[row] = label
    with pytest.raises(
        ValueError, match=f"test: labels go from {min(label, 0)} to {max(label, 3)}, .* 4 outputs"
    ):
        check_labels(TensorDataset(x, y), None, "test", 4)
    check_labels(TensorDataset(x, torch.full_like(y, -100)), None, "test", 4)  # what cross entropy ignores


@pytest.mark.parametrize("kind", [Pairs, lambda *pair: DataLoader(Pairs(*pair))])
def test_of_other_data_the_first_are_looked_at(kind):
    x, y = data()
    y[7] = 9
    with pytest.raises(ValueError, match="labels go from 0 to 9"):
        check_labels(kind(x, y), None, "train", 4)
    y[7], y[2999] = 0, 9
    check_labels(kind(x, y), None, "train", 4)


@pytest.mark.parametrize("row", [0, 2500])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_the_first_example_that_is_not_finite_is_named(row, value):
    x, y = data()
    x = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)  # of another memory format
    x[row:, 1, 2] = value
    with pytest.raises(ValueError, match=f"train: example {row} has NaN or an infinity in input"):
        check_finite(nn.Linear(3, 1), TensorDataset(x, y), None, "train")


class Filled(nn.Module):
    """Takes what is missing as zero."""

    def forward(self, x, ids):
        return x.nan_to_num().flatten(1).sum(1) + ids


def test_a_model_that_knows_what_to_do_with_it_may_have_it():
    x, y = data()
    x[3] = math.nan
    check_finite(Filled(), TensorDataset(x, y, y), None, "train")
    with pytest.raises(ValueError, match="example 3 has NaN or an infinity in input_0"):
        check_finite(Sum(), TensorDataset(x, y, y), None, "train")


class Sum(nn.Module):
    def forward(self, x, ids):
        return x.flatten(1).sum(1) + ids
