import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.search_spaces.resnet import ResNetPlan, StagePlan
from raysearch.trainables.task import Task, accuracy, cross_entropy


def examples(n=6, width=3):
    return TensorDataset(torch.arange(n * width).float().view(n, width), torch.zeros(n, dtype=torch.long))


def splits(**other):
    return {"train": examples(), "validation": examples(), "test": examples(), **other}


def make(plan=None):
    return nn.Linear(3, 2 if plan is None else plan.stem_width)


def test_a_given_model_is_copied_with_its_weights():
    model = nn.Linear(3, 2)
    task = Task(model=model, **splits())
    built = task.build(None)
    assert not task.searches_architecture
    assert built is not model
    assert torch.equal(built.weight, model.weight)
    with pytest.raises(ValueError, match="the task's model is fixed"):
        task.build(ResNetPlan(8, (StagePlan(1, 8),)))


def test_a_builder_is_given_the_plan():
    task = Task(model=make, **splits())
    assert task.searches_architecture
    assert task.build().out_features == 2
    assert task.build(ResNetPlan(5, (StagePlan(1, 8),))).out_features == 5


def test_example_inputs_come_from_the_training_split():
    task = Task(model=make, **splits())
    assert torch.equal(task.example_input(2), examples().tensors[0][:2])
    assert len(task.example_input(100)) == 6


def test_metric_and_loss():
    logits, labels = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
    assert accuracy(logits, labels) == pytest.approx(2 / 3)
    assert cross_entropy(logits, labels) == pytest.approx(nn.CrossEntropyLoss()(logits, labels))


def test_it_survives_pickling():
    task = pickle.loads(pickle.dumps(Task(model=nn.Linear(3, 2), **splits())))
    assert task.example_input().shape == (1, 3)


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
