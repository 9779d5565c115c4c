import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.trainables.task import Task, accuracy


def examples(n=6, width=3):
    return TensorDataset(torch.zeros(n, width), torch.zeros(n, dtype=torch.long))


def splits(**other):
    return {"train": examples(), "validation": examples(), "test": examples(), **other}


def make(plan=None):
    return nn.Linear(3, 2)


class Ragged(torch.utils.data.Dataset):
    """Sequences of different lengths."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.zeros(index + 1), 0


def test_lengths_may_differ_where_the_task_collates_or_says_that_they_vary():
    wider = {"test": examples(6, 5)}
    Task(model=make, **splits(**wider), varying={"input": {1: "width"}})
    Task(model=make, **splits(**wider), collate=torch.utils.data.default_collate)
    Task(
        model=make, **splits(train=Ragged(), validation=Ragged(), test=Ragged()), varying={"input": {1: "n"}}
    )


def test_parts_may_be_excluded_whole():
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 2))
    Task(model=model, **splits(), exclude=["0", "1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (splits(model="resnet"), "model is 'resnet'"),
        (splits(model=make, test=examples(0)), "test is empty"),
        (
            splits(model=make, validation=examples(6, 4)),
            r"validation has the inputs input \(4,\), one of train input \(3,\)",
        ),
        (splits(model=make, train=[(1,)]), "train: a batch is a list, not a pair"),
        (splits(model=make, train=[("one", 2)]), "train: the inputs of an example hold no tensor"),
        (splits(model=make, train=[{"x": 1, "y": 0}]), "train: a batch is a dict, not a pair"),
        (splits(model=make, metrics={}), "metrics is empty: give at least one"),
        (splits(model=make, metrics={"f 1": accuracy}), "metrics has the name 'f 1': give a word"),
        (splits(model=make, metrics={"test_f1": accuracy}), "'test_f1', which is raysearch's own"),
        (splits(model=make, metrics={"size_mb": accuracy}), "'size_mb', which is raysearch's own"),
        (splits(model=make, metrics={"f1": 1.0}), r"metrics\['f1'\] is 1.0: give a function of outputs"),
        (splits(model=make, metrics={"f1": dict}), r"metrics\['f1'\] is the class dict: give an object"),
        (splits(model=make, loss=None), "loss is None: give a function"),
        (splits(model=make, loss=nn.CrossEntropyLoss), "loss is the class CrossEntropyLoss: give an object"),
        (splits(model=make, collate=3), "collate is 3: give a function"),
        (splits(model=nn.Linear(3, 2), exclude="head"), "exclude is 'head': give a list"),
        (
            splits(model=nn.Sequential(nn.Linear(3, 2)), exclude=["1"]),
            "exclude has '1', no layer of the model; known: 0",
        ),
        (
            splits(model=make, varying={"x": {1: "width"}}),
            "varying names 'x', .*; known: input",
        ),
        (splits(model=make, varying={"input": {0: "n"}}), "has the axis 0: give one from 1 to 1"),
        (splits(model=make, varying={"input": {1: "a b"}}), "is 'a b': give the axis a name"),
        (splits(model=make, varying={"input": 1}), "is 1: give a mapping of axes to names"),
        (splits(model=make, parent={"bits": {}}), "parent has the key 'bits'"),
        (splits(model=make, pretrained=True), "pretrained=True needs a module"),
    ],
)
def test_bad_tasks(arguments, message):
    with pytest.raises(ValueError, match=message):
        Task(**arguments)


def test_inputs_that_are_no_tensors_are_refused():
    examples = [((torch.zeros(2), torch.zeros(2)), 0)] * 2

    def collate(given):
        return (torch.stack([x for (x, _), _ in given]), None), torch.zeros(len(given), dtype=torch.int64)

    with pytest.raises(ValueError, match="train: the inputs of an example hold None, which is no tensor"):
        Task(nn.Linear(2, 2), examples, examples, examples, collate=collate)
