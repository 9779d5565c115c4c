"""Tasks that are no classification of one tensor: other outputs, inputs, targets, losses and metrics."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.own_models.case import SIZES, Array, Case, Outputs, only, rmse, splits, tinted
from raysearch import Task


def root_mean_square(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs.double() - targets).square().mean().sqrt())


# -- regression ----------------------------------------------------------------------------------------------


def line(n: int) -> tuple[Tensor, Tensor]:
    """Ten features (n, 10), and a noisy weighted sum of them in large units, (n, 1)."""
    x = torch.randn(n, 10)
    return x, 100 * (x @ torch.linspace(-1, 1, 10).unsqueeze(1)) + torch.randn(n, 1)


def flat_line(n: int) -> tuple[Tensor, Tensor]:
    x, y = line(n)
    return x, y.squeeze(1) / 100


class Flat(nn.Module):
    """Gives one number an example, of shape (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(10, 32), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.silu(self.hidden(x))).squeeze(-1)


def bare_linear() -> Case:
    """One bare Linear; regression, RMSE to minimise."""
    task = Task(
        nn.Linear(10, 1),
        **splits(line),
        metrics={"rmse": root_mean_square},
        loss=F.mse_loss,
        parent={"training": {"lr": 0.1}},
    )
    return Case(task, "minimize rmse", rmse, prunes=False)


def flat_output() -> Case:
    """Regression with outputs of shape (n,), taught by the parent."""
    task = Task(Flat(), **splits(flat_line), metrics={"rmse": root_mean_square}, loss=F.mse_loss)
    return Case(task, "minimize rmse", rmse, teacher=True)


def r_squared(outputs: Tensor, targets: Tensor) -> float:
    """Below 0 where the mean would be closer."""
    rest = (outputs - targets).square().sum()
    return float(1 - rest / (targets - targets.mean()).square().sum())


def negative_metric() -> Case:
    """R² below 0, to maximise."""

    def r2(outputs: Outputs, targets: Array) -> float:
        y = targets.astype(np.float64)
        return float(1 - np.sum((only(outputs) - y) ** 2) / np.sum((y - y.mean()) ** 2))

    model = nn.Sequential(OrderedDict(hidden=nn.Linear(10, 32), act=nn.Tanh(), last=nn.Linear(32, 1)))
    task = Task(
        model,
        **splits(lambda n: (line(n)[0], 3 + torch.randn(n, 1))),
        metrics={"r2": r_squared},
        loss=F.smooth_l1_loss,
    )
    return Case(task, "maximize r2", r2)


# -- several labels, dense targets ---------------------------------------------------------------------------


def f1(logits: Tensor, labels: Tensor) -> float:
    found, right = logits > 0, labels > 0.5
    return float(2 * (found & right).sum() / (found.sum() + right.sum()).clamp(min=1))


def several(n: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 8, 8), and which of three channels are bright, as floats (n, 3)."""
    labels = (torch.rand(n, 3) < 0.4).float()
    return torch.randn(n, 3, 8, 8) + labels.view(n, 3, 1, 1), labels


def multi_label() -> Case:
    """Several labels: BCE and the user's F1."""

    def numpy_f1(outputs: Outputs, labels: Array) -> float:
        found, right = only(outputs) > 0, labels > 0.5
        return float(2 * np.sum(found & right) / max(1, found.sum() + right.sum()))

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ELU(), nn.Conv2d(16, 16, 3, padding=1), nn.ELU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    loss = nn.BCEWithLogitsLoss()
    task = Task(model, **splits(several), metrics={"f1": f1}, loss=loss)
    return Case(task, "maximize f1", numpy_f1)


class Segmenter(nn.Module):
    """Down by a stride, up by a transposed convolution and by interpolation; a skip beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.down3 = nn.Sequential(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(32, 32, 2, stride=2)
        self.head = nn.Conv2d(48, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down1(x)
        y = self.down2(x)
        y = F.relu(self.up(self.down3(y)) + y)
        y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(torch.cat([x, y], 1))


def iou(logits: Tensor, masks: Tensor) -> float:
    found, right = logits.argmax(1) == 1, masks == 1
    return float((found & right).sum() / (found | right).sum().clamp(min=1))


def squares(n: int) -> tuple[Tensor, Tensor]:
    """Noise (n, 3, 16, 16) with a bright square, and where it is (n, 16, 16)."""
    masks = torch.zeros(n, 16, 16, dtype=torch.int64)
    for mask, (i, j) in zip(masks, torch.randint(0, 9, (n, 2)).tolist(), strict=True):
        mask[i : i + 8, j : j + 8] = 1
    return torch.randn(n, 3, 16, 16) * 0.5 + 1.5 * masks.unsqueeze(1), masks


def segmentation() -> Case:
    """Segmentation: transposed convolution, interpolation, IoU, taught by the parent."""

    def numpy_iou(outputs: Outputs, masks: Array) -> float:
        found, right = only(outputs).argmax(1) == 1, masks == 1
        return float(np.sum(found & right) / max(1, np.sum(found | right)))

    task = Task(Segmenter(), **splits(squares), metrics={"iou": iou})
    return Case(task, "maximize iou", numpy_iou, teacher=True)


# -- several inputs and outputs ------------------------------------------------------------------------------


class TwoHeads(nn.Module):
    """Gives a class and a number, in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten())
        self.kind, self.amount = nn.Linear(256, 4), nn.Linear(256, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.trunk(x)
        return {"kind": self.kind(x), "amount": self.amount(x).squeeze(1)}


class Labelled(Dataset[Any]):
    """Images whose label is a mapping."""

    def __init__(self, n: int) -> None:
        self.images, self.kinds = tinted(n, 3, 16, 16)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        image = self.images[i]
        return image, {"kind": int(self.kinds[i]), "amount": image.mean()}


def both_losses(outputs: Any, targets: Any) -> Tensor:
    amount = F.mse_loss(outputs["amount"], targets["amount"])
    return F.cross_entropy(outputs["kind"], targets["kind"]) + amount


def kind_accuracy(outputs: Any, targets: Any) -> float:
    return float((outputs["kind"].argmax(1) == targets["kind"]).float().mean())


def dict_output() -> Case:
    """Outputs and targets in mappings, taught by the parent."""

    def share(outputs: Outputs, targets: Any) -> float:
        return float(np.mean(outputs["kind"].argmax(1) == targets["kind"]))

    data = {name: Labelled(n) for name, n in SIZES.items()}
    task = Task(TwoHeads(), **data, metrics={"kind_accuracy": kind_accuracy}, loss=both_losses)
    return Case(task, "maximize kind_accuracy", share, teacher=True)


class Deep(nn.Module):
    """Gives the logits and an early guess at them, as GoogLeNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.early, self.head = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.first(x))
        early = self.early(x.mean((2, 3)))
        return self.head(F.relu(self.second(x)).mean((2, 3))), early


def deep_loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs[0], labels) + 0.3 * F.cross_entropy(outputs[1], labels)


def first_accuracy(outputs: tuple[Tensor, Tensor], labels: Tensor) -> float:
    return float((outputs[0].argmax(1) == labels).float().mean())


def tuple_output() -> Case:
    """Outputs in a tuple."""

    def share(outputs: Outputs, labels: Array) -> float:
        return float(np.mean(next(iter(outputs.values())).argmax(1) == labels))

    data = splits(lambda n: tinted(n, 3, 16, 16))
    task = Task(Deep(), **data, metrics={"accuracy": first_accuracy}, loss=deep_loss)
    return Case(task, "maximize accuracy", share)


class TwoInputs(nn.Module):
    """An image and a vector of what else is known."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.facts = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(5, 16)
        self.hidden, self.head = nn.Linear(32, 32), nn.Linear(32, 4)

    def forward(self, image: Tensor, facts: Tensor) -> Tensor:
        image = F.relu(self.conv(image)).mean((2, 3))
        both = torch.cat([image, F.relu(self.facts(facts))], -1)
        return self.head(F.relu(self.hidden(both)))


def two_inputs() -> Case:
    """Two inputs."""

    def make(n: int) -> tuple[Tensor, ...]:
        images, labels = tinted(n, 3, 8, 8)
        return images, torch.randn(n, 5) + F.one_hot(labels, 5), labels

    def share(outputs: Outputs, labels: Array) -> float:
        return float(np.mean(only(outputs).argmax(1) == labels))

    return Case(Task(TwoInputs(), **splits(make)), "maximize accuracy", share)


@dataclass
class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """What Hugging Face's models give: a mapping and its fields, without those that are None."""

    logits: Tensor | None = None
    hidden: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("logits", "hidden"):
            if getattr(self, name) is not None:
                self[name] = getattr(self, name)


class OutputClass(nn.Module):
    """A classifier that gives an output class."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.classifier = nn.Linear(6, 32), nn.Linear(32, 4)

    def forward(self, features: Tensor, return_hidden: bool = False) -> ModelOutput:
        hidden = F.gelu(self.encoder(features))
        return ModelOutput(self.classifier(hidden), hidden if return_hidden else None)


def logits_loss(outputs: ModelOutput, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs.logits, labels)


def logits_accuracy(outputs: ModelOutput, labels: Tensor) -> float:
    assert outputs.logits is not None
    return float((outputs.logits.argmax(-1) == labels).float().mean())


def output_class() -> Case:
    """An output class, as Hugging Face's."""

    def share(outputs: Outputs, labels: Array) -> float:
        return float(np.mean(outputs["logits"].argmax(1) == labels))

    def make(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n) % 4
        return torch.randn(n, 6) + 1.5 * F.one_hot(labels, 6), labels

    task = Task(OutputClass(), **splits(make), metrics={"accuracy": logits_accuracy}, loss=logits_loss)
    return Case(task, "maximize accuracy", share)


CASES = (
    bare_linear, flat_output, negative_metric, multi_label, segmentation, dict_output, tuple_output,
    two_inputs, output_class,
)  # fmt: skip
