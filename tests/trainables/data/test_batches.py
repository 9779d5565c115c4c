import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from raysearch.trainables.data.batches import batches, count


class Pairs(Dataset):
    """The same examples as a TensorDataset, one by one."""

    def __init__(self, *tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        return tuple(t[index] for t in self.tensors)


class Stream(IterableDataset):
    """The same, in one order only."""

    def __init__(self, *tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors[0])

    def __iter__(self):
        yield from zip(*self.tensors, strict=True)


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


class Doubled(TensorDataset):
    """Holds its tensors, and gives others."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return 2 * x, y


def loader(*tensors):
    return DataLoader(Pairs(*tensors), batch_size=5)


def data(n=10):
    return torch.arange(2.0 * n).view(n, 2), torch.arange(n) % 3


def joined(parts):
    parts = list(parts)
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


@pytest.mark.parametrize("kind", [TensorDataset, Pairs, Stream, loader])
def test_batches_hold_every_example_once(kind):
    x, y = data()
    parts = list(batches(kind(x, y), 4, torch.Generator().manual_seed(0)))
    assert [len(p[0]) for p in parts] == [4, 4, 2]
    inputs, targets = joined(parts)
    order = inputs[:, 0].argsort()
    assert torch.equal(inputs[order], x)
    assert torch.equal(targets[order], y)
    assert torch.equal(inputs, x) == (kind is Stream)


@pytest.mark.parametrize("kind", [TensorDataset, Pairs, Stream, loader])
def test_without_a_generator_the_order_is_the_data_sets(kind):
    x, y = data()
    assert torch.equal(joined(batches(kind(x, y), 4))[0], x)
    assert count(kind(x, y)) == 10


@pytest.mark.parametrize("kind", [TensorDataset, Pairs])
def test_the_last_of_several_tensors_is_the_target(kind):
    x, y = data()
    inputs, targets = next(batches(kind(x, -x, y), 3))
    assert isinstance(inputs, tuple)
    assert torch.equal(inputs[0], x[:3])
    assert torch.equal(inputs[1], -x[:3])
    assert torch.equal(targets, y[:3])


def test_a_subset_of_tensors_is_indexed_as_a_whole(monkeypatch):
    x, y = data()
    first, second = random_split(TensorDataset(x, y), [7, 3], torch.Generator().manual_seed(0))

    def refuse(*_):
        raise AssertionError("one by one")

    monkeypatch.setattr(TensorDataset, "__getitem__", refuse)
    parts = list(batches(first, 4)) + list(batches(second, 4))
    assert torch.equal(joined(parts)[0], x[[*first.indices, *second.indices]])


def test_a_data_set_that_changes_what_it_holds_is_asked_for_each_example():
    x, y = data()
    assert torch.equal(joined(batches(Doubled(x, y), 4))[0], 2 * x)


def test_types_stay_as_they_are():
    ids, images = torch.arange(4), torch.zeros(4, 2, 2, dtype=torch.uint8)
    for kind in (TensorDataset, Pairs):
        inputs, _ = next(batches(kind(ids, images, torch.zeros(4, dtype=torch.float16)), 2))
        assert [t.dtype for t in inputs] == [torch.int64, torch.uint8]


def test_mappings_and_nests_are_collated():
    examples = [({"ids": torch.tensor([i]), "mask": torch.ones(1)}, (i, float(i))) for i in range(3)]
    inputs, (labels, _) = next(batches(examples, 2))
    assert torch.equal(inputs["ids"], torch.tensor([[0], [1]]))
    assert torch.equal(labels, torch.tensor([0, 1]))


def pad(examples):
    longest = max(len(x) for x, _ in examples)
    rows = [torch.nn.functional.pad(x, (0, longest - len(x))) for x, _ in examples]
    return torch.stack(rows), torch.tensor([y for _, y in examples])


def test_collate_makes_a_batch_of_examples_of_different_lengths():
    examples = [(torch.ones(1 + i), i) for i in range(3)]
    with pytest.raises(ValueError, match=r"do not collate into a batch .*give the task collate="):
        next(batches(examples, 3))
    inputs, _ = next(batches(examples, 3, collate=pad))
    assert inputs.sum(1).tolist() == [1, 2, 3]
    assert next(batches(DataLoader(examples, batch_size=2, collate_fn=pad), 3))[0].shape == (3, 3)
    # A data set that holds tensors is collated too, where the task says how.
    assert next(batches(TensorDataset(*data()), 2, collate=pad))[0].shape == (2, 2)


def test_a_loaders_sampler_says_which_examples_there_are():
    x, y = data()
    examples = DataLoader(TensorDataset(x, y), sampler=SubsetRandomSampler([1, 4, 7]))
    assert count(examples) == 3
    first, again = (joined(batches(examples, 2))[0] for _ in range(2))
    assert sorted(first[:, 0].tolist()) == [2, 8, 14]
    assert torch.equal(first, again)
    generator = torch.Generator().manual_seed(0)
    orders = {tuple(joined(batches(examples, 2, generator))[0][:, 0].tolist()) for _ in range(20)}
    assert len(orders) > 1


def test_a_weighted_sampler_is_followed_and_leaves_torchs_generator_alone():
    x, y = data()
    weights = [0.0] * 9 + [1.0]
    examples = DataLoader(TensorDataset(x, y), sampler=WeightedRandomSampler(weights, 6))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    inputs, _ = joined(batches(examples, 4, torch.Generator().manual_seed(1)))
    assert torch.equal(torch.rand(1), expected)
    assert inputs[:, 0].tolist() == [18] * 6


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([{"x": 1, "y": 0}], "a batch is a dict, not a pair"),
        ([(torch.zeros(2),)], "a batch is a list, not a pair"),
        (DataLoader(TensorDataset(*data()), batch_size=None), "without a batch_size"),
    ],
)
def test_what_gives_no_pairs_is_refused(examples, message):
    with pytest.raises(ValueError, match=message):
        next(batches(examples, 2))


def test_a_stream_without_a_length_is_refused():
    with pytest.raises(ValueError, match="Endless has no length: give it a __len__"):
        count(Endless())
