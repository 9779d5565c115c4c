import inspect
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raysearch import tasks
from raysearch.search_spaces import bind
from raysearch.trainables.models.zoo import torchvision_model
from raysearch.trainables.task import Task

DATA = Path(os.environ.get("RAYSEARCH_DATA", Path(__file__).parents[2] / "shared" / "data"))


def check(task, shape, classes):
    plan = bind({}, parent=task.parent).variant(task.parent).plan
    model = task.build(plan.architecture).eval()
    assert task.example_input(2).shape == (2, *shape)
    assert model(task.example_input(2)).shape == (2, classes)
    assert pickle.loads(pickle.dumps(task)).build() is not None
    return plan


def test_digits():
    task = tasks.digits()
    plan = check(task, (1, 8, 8), 10)
    assert task.searches_architecture
    assert len(plan.architecture.stages) == 3
    assert sum(p.numel() for p in task.build().parameters()) > 300_000


def test_the_digits_network_learns():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = tasks.digits()
    model, (x, y) = task.build(), task.train.tensors
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.parent["training"]["lr"])
    for _ in range(2):
        for batch in torch.randperm(len(x)).split(64):
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
    images, labels = task.validation.tensors
    assert task.metrics["accuracy"](model.eval()(images), labels) > 0.9


def test_cifar10(tmp_path):
    y = np.arange(40) % 10
    x = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "c.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    task = tasks.cifar10(tmp_path)
    plan = check(task, (3, 32, 32), 10)
    assert [s.depth for s in plan.architecture.stages] == [3, 3, 3]
    assert task.augment(task.example_input(5)).shape == (5, 3, 32, 32)


def test_mnist():
    if not (DATA / "mnist").is_dir():
        pytest.skip(f"no MNIST in {DATA}")
    task = tasks.mnist(DATA / "mnist")
    check(task, (1, 28, 28), 10)
    assert len(task.train) + len(task.validation) == 60000
    assert len(task.test) == 10000


def test_fashion_mnist_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="FashionMNIST/raw: set download"):
        tasks.fashion_mnist(tmp_path)


def test_an_image_folder_with_a_torchvision_model(tmp_path):
    pil = pytest.importorskip("PIL.Image")
    pytest.importorskip("torchvision.models")
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for k in range(6):
            pil.new("RGB", (40, 40), (k * 9, 0, 0)).save(tmp_path / label / f"{k}.jpg")
    check(tasks.image_folder(tmp_path, size=32), (3, 32, 32), 2)
    task = tasks.image_folder(tmp_path, size=32, model="squeezenet1_1")
    assert not task.searches_architecture
    assert task.build()(task.example_input()).shape == (1, 2)


def test_an_image_folder_with_weights_of_a_file(tmp_path):
    pil = pytest.importorskip("PIL.Image")
    pytest.importorskip("torchvision.models")
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for k in range(6):
            pil.new("RGB", (40, 40), (k * 9, 0, 0)).save(tmp_path / label / f"{k}.jpg")
    name = "squeezenet1_1"
    for classes, trained in ((2, True), (5, False)):
        path = tmp_path / f"{classes}.pth"
        torch.save(torchvision_model(name, classes).state_dict(), path)
        task = tasks.image_folder(tmp_path, size=32, model=name, weights=path)
        assert task.pretrained == trained, "a last layer that is drawn anew must be trained"
        assert task.build()(task.example_input()).shape == (1, 2)
    with pytest.raises(ValueError, match="needs the torchvision model that they are of: give model="):
        tasks.image_folder(tmp_path, size=32, weights=path)


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist", "cifar10", "image_folder"])
def test_every_task_takes_a_seed(name):
    assert inspect.signature(getattr(tasks, name)).parameters["seed"].default == 0
    assert isinstance(Task, type)
