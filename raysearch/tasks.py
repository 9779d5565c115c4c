"""Ready tasks: data, a network to start from, and settings that train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.search_spaces.architectures.resnet import ResNetPlan
from raysearch.search_spaces.architectures.resnet import StagePlan as Stage
from raysearch.trainables.data.cifar import cifar10_images, crop_and_flip
from raysearch.trainables.data.digits import digits as load_digits
from raysearch.trainables.data.idx import FASHION_CLASSES, MNIST_CLASSES, idx_images
from raysearch.trainables.data.image_folder import folder_images
from raysearch.trainables.data.splits import Splits
from raysearch.trainables.models.ready import ReadyBuilder
from raysearch.trainables.models.zoo import torchvision_trained
from raysearch.trainables.task import Task

_SMALL = ResNetPlan(16, (Stage(1, 16), Stage(1, 32), Stage(1, 64)))
_SMALL_TRAINING = {"lr": 3e-3, "batch_size": 128}
_RESNET20 = ResNetPlan(16, (Stage(3, 16), Stage(3, 32), Stage(3, 64)))
_RESNET20_TRAINING = {"lr": 3e-3, "batch_size": 128}


def _task(name: str, splits: Splits, parent: ResNetPlan, training: dict[str, Any], **more: Any) -> Task:
    return Task(
        model=ReadyBuilder(parent, tuple(splits.image_shape), len(splits.classes)),
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        parent={"architecture": parent.encode(), "training": training},
        name=name,
        **more,
    )


def digits(seed: int = 0) -> Task:
    """Scikit-learn's handwritten digits; a network of three stages, .98 on the test split after 9 epochs."""
    parent = ResNetPlan(32, (Stage(2, 32), Stage(2, 64), Stage(2, 64)))
    return _task("digits", load_digits(seed), parent, {"lr": 3e-3, "batch_size": 64})


def mnist(folder: str | Path, download: bool = False, seed: int = 0) -> Task:
    """MNIST from its four idx files, plain or .gz, or torchvision's folder.

    Args:
        folder: where they are, or go.
        download: let torchvision fetch what is missing.
        seed: decides which examples are for validation.
    """
    splits = idx_images(folder, "MNIST", MNIST_CLASSES, download=download, seed=seed)
    return _task("mnist", splits, _SMALL, _SMALL_TRAINING)


def fashion_mnist(folder: str | Path, download: bool = False, seed: int = 0) -> Task:
    """Fashion-MNIST, in files as ``mnist``'s."""
    splits = idx_images(folder, "FashionMNIST", FASHION_CLASSES, download=download, seed=seed)
    return _task("fashion_mnist", splits, _SMALL, _SMALL_TRAINING)


def cifar10(folder: str | Path, download: bool = False, seed: int = 0) -> Task:
    """CIFAR-10 from a NumPy archive or torchvision's folder; ResNet-20, shifted and mirrored images.

    Args:
        folder: what holds an .npz of x_train, y_train, x_test, y_test, or "cifar-10-batches-py".
        download: let torchvision fetch what is missing.
        seed: decides which examples are for validation.
    """
    splits = cifar10_images(folder, download=download, seed=seed)
    return _task("cifar10", splits, _RESNET20, _RESNET20_TRAINING, augment=crop_and_flip)


def image_folder(
    folder: str | Path,
    size: int = 64,
    model: str | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
) -> Task:
    """Images in one folder for each class, or in such folders under "train" and "test".

    Args:
        folder: what holds them.
        size: pixels of the side to which images are scaled and cut.
        model: a torchvision model by name, such as "resnet18"; left out, a searchable ResNet-20.
        seed: decides the split.
        weights: of that model: a local file, .pth, .pt or .safetensors, or a name of torchvision's, such as
            "DEFAULT". Where they are of as many classes, the network counts as trained; where they are not,
            its last layer is drawn anew, and the search begins with training it.
    """
    splits = folder_images(folder, size=size, seed=seed)
    if model is None:
        if weights is not None:
            raise UserError(
                f"weights={str(weights)!r} needs the torchvision model that they are of: give model="
            )
        return _task("image_folder", splits, _RESNET20, _RESNET20_TRAINING, augment=crop_and_flip)
    network, trained = torchvision_trained(model, len(splits.classes), weights)
    return Task(
        model=network,
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        augment=crop_and_flip,
        parent={"training": _RESNET20_TRAINING},
        pretrained=trained,
        name="image_folder",
    )
