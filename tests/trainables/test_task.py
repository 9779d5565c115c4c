import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
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


class Net(nn.Linear):
    def __init__(self, width=2):
        super().__init__(3, width)


def test_what_needs_no_argument_gets_none_where_there_is_no_plan():
    assert Task(model=Net, **splits()).build().out_features == 2
    assert Task(model=lambda: Net(4), **splits()).build().out_features == 4


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear, r"making the model fails: TypeError: Linear.__init__\(\) missing"),
        (lambda: 3, "the model's function gives a int: let it give a torch module"),
    ],
)
def test_what_makes_no_model_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        Task(model=model, **splits()).build()


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


def test_a_loaders_batch_size_holds_where_the_parent_says_no_other():
    loader = DataLoader(examples(), batch_size=3)
    task = Task(model=make, **splits(train=loader), parent={"training": {"lr": 0.1}})
    assert task.parent == {"training": {"lr": 0.1, "batch_size": 3}}
    task = Task(model=make, **splits(train=loader), parent={"training": {"batch_size": 2}})
    assert task.parent == {"training": {"batch_size": 2}}
    assert Task(model=make, **splits(validation=loader)).parent == {}


def test_an_example_is_a_batch_of_the_split_as_it_collates():
    def collate(pairs):
        return {"x": torch.stack([x for x, _ in pairs])}, torch.ones(len(pairs))

    task = Task(model=make, **splits(test=examples(4)), collate=collate)
    inputs, targets = task.example(5, "test")
    assert inputs["x"].shape == (4, 3)
    assert targets.tolist() == [1] * 4


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_under_torchs_old_weight_norm_is_built():
    model = nn.utils.weight_norm(nn.Linear(3, 2))
    x = torch.randn(4, 3)
    data = TensorDataset(x, torch.zeros(4, dtype=torch.int64))
    built = Task(model, data, data, data).build()
    assert torch.equal(built(x), model(x))
    assert built.weight_g is not model.weight_g
