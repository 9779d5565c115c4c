"""A pruning budget divided over the 12 branches of a real multi-view network, against uniform pruning.

Purpose: five folds of ETH-80 by object (48 objects train, 16 validate, 16 test; each of the 80 is tested in
one fold). A network with a branch for each view is trained; each branch alone is pruned by channels, the
network trained on for an epoch and measured on the validation objects; curves are fitted and a budget
divided. The networks of the division and of one ratio for all branches are built, fine-tuned alike, and
tested.

- at a floor (validation accuracy less 5 points): the smallest division, and the smallest single ratio, that
  the same curves allow; both networks exported and measured in ONNX Runtime.
- at equal sizes (those of the single ratios 0.5 and 0.75): the most accurate division.

Two rules predict the accuracy of a network with several pruned branches: "weighted", the mean of their
curves weighted by importance (a published study's), and "summed", the losses of all branches added up.

Acceptance: the floor is kept within the curves' stated error, and at the floor the allocated network is
smaller or faster than the uniform one at equal accuracy, paired over folds.

Limit: 16 objects validate and 16 test, each shown in 9 crops; an object is 6.25 points.

Data: eth80_ring12.npz (--data, the file or the folder that holds eth80/).
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.common import Floats, arguments, data_file, report
from raysearch import backends
from raysearch.allocation import Branch, Problem, allocate, branches_of, importances_left_out
from raysearch.allocation.curves import BAND
from raysearch.backends.protocol import Protocol
from raysearch.backends.service import MeasurementService
from raysearch.trainables.branches import Branches
from raysearch.trainables.data.eth80 import Views, eth80, fold
from raysearch.trainables.data.splits import Examples
from raysearch.trainables.distillation import plain_loss
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.export import export_onnx
from raysearch.trainables.models.mvcnn import MVCNNPlan, build_mvcnn
from raysearch.trainables.quantization import fold_batch_norm, size_mb
from raysearch.trainables.task import accuracy, cross_entropy
from raysearch.trainables.training import cosine, train_epoch

NAME = "mvcnn_allocation"
FOLDS = 5
TARGET = "onnxruntime-cpu"
PROTOCOL = Protocol(max_s=1.0)
PLAN = MVCNNPlan()
BRANCHES = tuple(f"branches.{i}" for i in range(PLAN.views))
RATIOS = (0.25, 0.5, 0.75, 0.875)
UNIFORM = (0.5, 0.75)
RULES = ("weighted", "summed")
EPOCHS, RETRAIN, FINETUNE = 50, 1, 15
LR, LR_AGAIN = 3e-3, 1e-3
BELOW = 5.0  # the floor: points below the unpruned network's validation accuracy
REACH = 3  # pixels that a crop may be off the middle


@dataclass(frozen=True)
class Prepared:
    """A fold's trained network, the curves of its branches, and its data."""

    branches: Branches
    curves: tuple[Branch, ...]
    train: Examples
    validation: Examples
    test: Examples
    seed: int


def percent(logits: Tensor, labels: Tensor) -> float:
    """The accuracy in per cent."""
    return 100 * accuracy(logits, labels)


def crop(x: Tensor, down: int, right: int) -> Tensor:
    """Views (n, views, channels, h, w) moved within their padded selves; offsets in 0..2 REACH."""
    height, width = x.shape[-2:]
    padded = F.pad(x.flatten(0, 1), (REACH,) * 4, mode="replicate")
    return padded[..., down : down + height, right : right + width].reshape(x.shape)


def augment(x: Tensor) -> Tensor:
    """A random crop, and a random contrast for each object."""
    down, right = torch.randint(0, 2 * REACH + 1, (2,)).tolist()
    return crop(x, down, right) * (1 + 0.1 * torch.randn(len(x), 1, 1, 1, 1))


def crops(examples: TensorDataset) -> TensorDataset:
    """Nine crops of each example."""
    x, y = examples.tensors
    offsets = [(down, right) for down in (0, REACH, 2 * REACH) for right in (0, REACH, 2 * REACH)]
    return TensorDataset(torch.cat([crop(x, *offset) for offset in offsets]), y.repeat(len(offsets)))


def train(network: nn.Module, examples: Examples, epochs: int, lr: float, seed: int) -> nn.Module:
    """Train in place, every time on the same batches."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        train_epoch(
            network,
            examples,
            plain_loss(cross_entropy),
            optimizer,
            batch_size=16,
            lr=lambda share, epoch=epoch: lr * cosine((epoch + share) / epochs),  # type: ignore[misc]
            generator=generator,
            augment=augment,
        )
    return network


def prepare(views: Views, index: int, seed: int, times: pd.DataFrame | None) -> tuple[Prepared, pd.DataFrame]:
    """Train a fold's network and measure its branches; times do not depend on weights, so they are reused."""
    splits = fold(views, index, FOLDS, seed)
    validation, test = (crops(part) for part in (splits.validation, splits.test))  # type: ignore[arg-type]
    torch.manual_seed(FOLDS * seed + index)
    network = train(build_mvcnn(PLAN, 3, len(views.classes)), splits.train, EPOCHS, LR, FOLDS * seed + index)
    branches = Branches(network, test[:2][0], BRANCHES)

    def retrain(pruned: nn.Module) -> None:
        train(pruned, splits.train, RETRAIN, LR_AGAIN, seed)

    table = branches.responses(
        validation,
        ratios=RATIOS,
        metric=percent,
        retrain=retrain if RETRAIN else None,
        target=TARGET if times is None else None,
        service=MeasurementService(PROTOCOL),
    )
    times = table[["branch", "ratio", "latency_ms"]] if times is None else times
    table = table if "latency_ms" in table else table.merge(times, on=["branch", "ratio"])
    importances = importances_left_out(*branches.left_out(validation, metric=percent))
    return Prepared(branches, branches_of(table, importances), splits.train, validation, test, seed), times


def divided(curves: tuple[Branch, ...], rule: str) -> tuple[tuple[Branch, ...], float]:
    """The branches that a rule divides over, and what it multiplies a mean of accuracies' loss by.

    "weighted" is the importance-weighted accuracy. "summed" takes the network to lose what its branches lose
    by themselves, all together: equal importances, and the loss of their mean times their number.
    """
    if rule == "weighted":
        return curves, 1.0
    equal = tuple(replace(branch, importance=1 / len(curves)) for branch in curves)
    return equal, float(len(curves))


def at_sizes(given: Prepared) -> Iterator[dict[str, Any]]:
    """A row for each network, all of a case predicted to be of the same size."""
    for ratio in UNIFORM:
        case = f"at uniform {ratio:g}"
        size = float(Problem(given.curves).total_size(np.full(len(BRANCHES), ratio)))
        for rule in RULES:
            curves, _ = divided(given.curves, rule)
            found = allocate(Problem(curves, total_cap=size), points=2).ratios[0]
            yield {"case": case, "method": rule, **tested(given, built(given, found))}
        network = built(given, np.full(len(BRANCHES), ratio))
        yield {"case": case, "method": "uniform", **tested(given, network)}


def at_floor(given: Prepared, service: MeasurementService) -> Iterator[dict[str, Any]]:
    """A row for each of the smallest networks that the curves allow at a floor, and one for the unpruned."""
    network = given.branches.model
    rest = size_mb(network) - sum(given.branches.size_mb(name) for name in BRANCHES)
    unpruned = {**tested(given, network), **deployed(given, network, service)}
    yield {"case": "unpruned", "method": "", **unpruned}
    for rule in RULES:
        curves, times = divided(given.curves, rule)
        whole = float(Problem(curves).weighted_accuracy(Problem(curves).unpruned))
        problem = Problem(curves, floor=whole - BELOW / times, latency="sequential")
        # What the branches leave of the network's time: pooling, the head, and starting a graph.
        outside = unpruned["ms"] - float(problem.total_time(problem.unpruned))
        grid = np.linspace(0, float(problem.high.min()), 1001)[:, None] * np.ones(len(BRANCHES))
        kept = problem.weighted_accuracy(grid) >= problem.floor
        divisions = {rule: allocate(problem, points=2).ratios[-1], "uniform": grid[np.flatnonzero(kept)[-1]]}
        for method, ratios in divisions.items():
            network = built(given, ratios)
            yield {
                "case": f"floor, {rule}",
                "method": method,
                "floor": whole - BELOW,
                "error": times * problem.accuracy_error,
                "predicted": whole - times * (whole - float(problem.weighted_accuracy(ratios))),
                "predicted mb": float(problem.total_size(ratios)) + rest,
                "predicted ms": float(problem.total_time(ratios)) + outside,
                **tested(given, network),
                **deployed(given, network, service),
            }


def built(given: Prepared, ratios: Floats) -> nn.Module:
    """The pruned network, fine-tuned."""
    network = given.branches.pruned(dict(zip(BRANCHES, ratios.tolist(), strict=True)))
    return train(network, given.train, FINETUNE, LR_AGAIN, given.seed)


def tested(given: Prepared, network: nn.Module) -> dict[str, float]:
    """Accuracies in per cent, and MB."""
    return {
        "accuracy": evaluate(network, given.test, percent),
        "validation": evaluate(network, given.validation, percent),
        "mb": size_mb(network),
    }


def deployed(given: Prepared, network: nn.Module, service: MeasurementService) -> dict[str, float]:
    """The exported network's test accuracy in per cent, and its latency in ms."""
    example = given.branches.example_input[:1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(fold_batch_norm(copy.deepcopy(network)), example, path)
        measured = service.measure(TARGET, path.read_bytes(), example.numpy())
        accurate = evaluate(backends.get(TARGET).load(path), given.test, percent)
    return {"accuracy": accurate, "ms": measured["latency_ms"]}


def paired(differences: Floats) -> tuple[float, float]:
    """The mean of (seeds, folds), and half its 95 % interval over folds, a fold's repetitions averaged."""
    from scipy.stats import t

    folds = differences.mean(axis=0)
    half = t.ppf(0.975, len(folds) - 1) * folds.std(ddof=1) / math.sqrt(len(folds))
    return float(folds.mean()), float(half)


def show(table: pd.DataFrame, seeds: int) -> dict[str, float]:
    """Print the table, a row for each case and method; the figures."""
    columns = ("accuracy", "validation", "floor", "predicted", "mb", "predicted mb", "ms", "predicted ms")
    print(f"{NAME}: {FOLDS} folds by object, {seeds} seeds; means (standard deviation over networks)")
    print(f"{'':26}" + "".join(f"{column:>17}" for column in columns))
    figures = {}
    for (case, method), rows in table.groupby(["case", "method"], sort=False):
        cells = []
        for column in columns:
            mean, spread = rows[column].mean(), rows[column].std()
            digits = 4 if "m" in column.split()[-1] else 2
            cells.append("" if np.isnan(mean) else f"{mean:.{digits}f} ({spread:.{digits}f})")
            figures |= {} if np.isnan(mean) else {f"{case}: {method} {column}": float(mean)}
        print(f"{f'{case}: {method}':26}" + "".join(f"{cell:>17}" for cell in cells))
    for case in [c for c in table["case"].unique() if c != "unpruned"]:
        figures |= _show_case(case, table[table["case"] == case], seeds)
    return figures


def _show_case(case: str, rows: pd.DataFrame, seeds: int) -> dict[str, float]:
    """Differences to the uniform network, and whether the floor is kept."""
    figures = {}

    def column(method: str, name: str) -> Floats:
        return rows[rows["method"] == method][name].to_numpy(dtype=np.float64).reshape(seeds, FOLDS)

    for method in [m for m in rows["method"].unique() if m != "uniform"]:
        text = []
        for name in ("accuracy", "mb", "ms"):
            mean, half = paired(column(method, name) - column("uniform", name))
            if not np.isnan(mean):
                figures |= {f"{case}: {method} less uniform, {name}": mean}
                figures |= {f"{case}: {method} less uniform, {name} +-": half}
                text.append(f"{name} {mean:+.4f} +- {half:.4f}")
        print(f"{case}: {method} less uniform: {', '.join(text)}")
    for method in rows["method"].unique() if case.startswith("floor") else ():
        short, error = column(method, "floor") - column(method, "accuracy"), column(method, "error")
        mean, half = paired(short)
        figures |= {f"{case}: {method} short of floor": mean, f"{case}: {method} short of floor +-": half}
        kept = float((short <= BAND * error).mean())
        figures[f"{case}: {method} kept"] = kept
        print(
            f"{case}: {method} is {mean:+.2f} +- {half:.2f} points short; within {BAND} x the curves' error "
            f"({error.mean():.2f}) in {100 * kept:.0f} % of networks"
        )
    return figures


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and, with --json, the figures."""
    options = arguments(__doc__, seeds=2).parse_args(argv)
    torch.set_num_threads(1)
    views = eth80(data_file(options.data, "eth80/eth80_ring12.npz"))
    service, times, rows = MeasurementService(PROTOCOL), None, []
    for seed in range(options.seeds):
        for index in range(FOLDS):
            given, times = prepare(views, index, seed, times)
            rows += [*at_floor(given, service), *at_sizes(given)]
    figures = show(pd.DataFrame(rows), options.seeds)
    if options.json:
        report(NAME, {name: round(value, 4) for name, value in figures.items()}, {})


if __name__ == "__main__":
    main()
