"""A pruning budget divided over the 12 branches of a real multi-view network, against uniform pruning.

Purpose: five folds of ETH-80 by object (48 objects train, 16 validate, 16 test; each of the 80 is tested in
one fold). A network with a branch for each view is trained, pruned by channels, trained on for 5 epochs and
measured on the validation objects: each branch alone, and all of them alike. Curves are fitted and a budget
is divided: what the curves say keeps the floor (5 points below the unpruned network) is built, trained on in
the same way, exported, tested and timed in ONNX Runtime, and so is the best single ratio for all branches.

- smallest: the fewest MB at the floor.
- fastest: branches run side by side, each on a processor of its own speed (the published study's time
  scales, drawn from [10, 100)), and the slowest counts. Each branch is timed, and multiplied by its scale.

Two rules predict the accuracy of a network with several pruned branches: "alone", the losses of branches
pruned by themselves, added up; "together", the curve of all branches pruned alike, its loss divided by
importance. An importance is what leaving the branch out costs in expected accuracy (the mean probability of
the right class, which says more on few objects than their hits do) on the objects known when pruning.

Acceptance: the floor is kept within the curves' stated error, and at the floor the divided network is smaller
or faster than the uniform one at equal accuracy, paired over folds.

Limit: 16 objects validate and 16 test, each shown in 9 crops; an object is 6.25 points. So the floor is 5
points below what the unpruned network reaches on the very objects that a network is tested on, and beside the
curves' own error (of ratios left out of the fit) stands that of carrying a loss over to other objects.

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
from raysearch.allocation import Problem, allocate, branches_of, fit, importances_left_out
from raysearch.allocation.curves import BAND
from raysearch.backends.measurement.protocol import Protocol
from raysearch.backends.measurement.service import MeasurementService
from raysearch.networks.capture import capture
from raysearch.sweeps.branches import Branches
from raysearch.trainables.data.batches import Examples
from raysearch.trainables.data.eth80 import Views, eth80, fold
from raysearch.trainables.evaluation import evaluate, outputs_of
from raysearch.trainables.export import export_onnx
from raysearch.trainables.export.feeds import feed_of, function_of
from raysearch.trainables.models.mvcnn import MVCNNPlan, build_mvcnn
from raysearch.trainables.quantization import fold_batch_norm, size_mb
from raysearch.trainables.task import accuracy, cross_entropy
from raysearch.trainables.training.distillation import plain_loss
from raysearch.trainables.training.epoch import train_epoch
from raysearch.trainables.training.schedule import cosine

NAME = "mvcnn_allocation"
FOLDS = 5
TARGET = "onnxruntime-cpu"
PROTOCOL = Protocol(max_s=1.0)
PLAN = MVCNNPlan(widths=(32, 64, 128))
BRANCHES = tuple(f"branches.{i}" for i in range(PLAN.views))
ALONE = (0.25, 0.5, 0.75, 0.875)  # ratios of a branch pruned by itself
TOGETHER = tuple(i / 16 for i in range(15))  # of all branches: close together, the fall is steep
CASES = (("smallest", "alone"), ("smallest", "together"), ("fastest", "together"))
MULTIPLE = backends.get(TARGET).channel_multiple  # fewer channels than that are not faster, often slower
EPOCHS, AGAIN = 50, 5
LR, LR_AGAIN = 3e-3, 1e-3
BELOW = 5.0  # the floor: points below the unpruned network
SCALES = (10.0, 100.0)
REACH = 3  # pixels that a crop may be off the middle
CROPS = 9
ACCURACIES = ("accuracy", "predicted", "validation")
COLUMNS = (*ACCURACIES, "mb", "predicted mb", "ms", "slowest ms", "predicted slowest ms")


@dataclass(frozen=True)
class Prepared:
    """A fold's trained network, and what was measured before anything is divided.

    Attributes:
        branches: of the network.
        alone: a row for each branch and ratio.
        together: a row for each ratio.
        importances: of the branches.
        scales: what each branch's time is multiplied by, shape (n,).
        train: with ``validation`` and ``test`` the fold's data.
        seed: of every training on.
    """

    branches: Branches
    alone: pd.DataFrame
    together: pd.DataFrame
    importances: dict[str, float]
    scales: Floats
    train: Examples
    validation: Examples
    test: Examples
    seed: int


def percent(logits: Tensor, labels: Tensor) -> float:
    """The accuracy in per cent."""
    return 100 * accuracy(logits, labels)


def expected(logits: Tensor, labels: Tensor) -> float:
    """The accuracy in per cent of labels drawn from the network's own probabilities."""
    return 100 * float(logits.softmax(1).gather(1, labels[:, None]).mean())


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
    parts = (splits.train, splits.validation, splits.test)
    train_set, validation, test = (crops(part) for part in parts)  # type: ignore[arg-type]
    torch.manual_seed(FOLDS * seed + index)
    network = train(build_mvcnn(PLAN, 3, len(views.classes)), splits.train, EPOCHS, LR, FOLDS * seed + index)
    branches = Branches(network, test[:2][0], BRANCHES, multiple=MULTIPLE)

    def again(pruned: nn.Module) -> None:
        train(pruned, splits.train, AGAIN, LR_AGAIN, seed)

    target = TARGET if times is None else None
    alone = branches.responses(validation, ratios=ALONE, metric=percent, retrain=again, target=target)
    times = alone[["branch", "ratio", "latency_ms"]] if times is None else times
    alone = alone if "latency_ms" in alone else alone.merge(times, on=["branch", "ratio"])
    together = branches.together(validation, ratios=TOGETHER, metric=percent, retrain=again)
    known = TensorDataset(*map(torch.cat, zip(train_set.tensors, validation.tensors, strict=True)))
    importances = importances_left_out(*branches.left_out(known, metric=expected))
    scales = np.random.default_rng(FOLDS * seed + index).uniform(*SCALES, len(BRANCHES))
    data = (splits.train, validation, test)
    return Prepared(branches, alone, together, importances, scales, *data, seed), times


def posed(given: Prepared, rule: str) -> tuple[Problem, float]:
    """What is to be divided by a rule, and what it multiplies a weighted accuracy's loss by."""
    if rule == "together":
        curve = fit(given.together["ratio"], given.together["accuracy"], kind="spline")
        curves, factor = branches_of(given.alone, given.importances, kind="spline", accuracy=curve), 1.0
    else:
        curves, factor = branches_of(given.alone, kind="spline"), float(len(BRANCHES))
    scaled = zip(curves, given.scales.tolist(), strict=True)
    problem = Problem(tuple(replace(branch, time_scale=scale) for branch, scale in scaled))
    whole = float(problem.weighted_accuracy(problem.unpruned))
    return replace(problem, floor=whole - BELOW / factor), factor


def divisions(problem: Problem, case: str) -> dict[str, Floats]:
    """The division, and the largest single ratio, that keep the floor."""
    grid = np.linspace(0, float(problem.high.min()), 1001)[:, None] * np.ones(len(BRANCHES))
    uniform = grid[np.flatnonzero(problem.weighted_accuracy(grid) >= problem.floor)[-1]]
    if case == "smallest":
        return {"divided": allocate(problem, points=2).ratios[-1], "uniform": uniform}
    found = allocate(problem, points=32, latencies=2)
    times, accuracies = found.front["latency_ms"].to_numpy(), found.front["accuracy"].to_numpy()
    fastest = np.where(times <= 1.001 * times.min(), accuracies, -math.inf).argmax()
    return {"divided": found.ratios[fastest], "uniform": uniform}


def compared(given: Prepared, service: MeasurementService) -> Iterator[dict[str, Any]]:
    """A row for the unpruned network, and one for each method in each case."""
    unpruned = again(given, given.branches.model)
    rest = size_mb(unpruned) - sum(given.branches.size_mb(name) for name in BRANCHES)
    base = tested(given, unpruned, service)
    yield {"case": "unpruned", "method": "", **base, **side_by_side(given, unpruned, service)}
    for case, rule in CASES:
        problem, factor = posed(given, rule)
        whole = float(problem.weighted_accuracy(problem.unpruned))
        for method, ratios in divisions(problem, case).items():
            pruned = given.branches.pruned(dict(zip(BRANCHES, ratios.tolist(), strict=True)))
            network = again(given, pruned)
            times = {"predicted slowest ms": float(problem.total_time(ratios))}
            if case == "fastest":
                times |= side_by_side(given, network, service)
            yield {
                "case": f"{case}, {rule}",
                "method": method,
                "floor": base["accuracy"] - BELOW,
                "error": factor * problem.accuracy_error,
                "objects": objects_error(given.validation, unpruned, network),
                "predicted": whole - factor * (whole - float(problem.weighted_accuracy(ratios))),
                "predicted mb": float(problem.total_size(ratios)) + rest,
                **times,
                **tested(given, network, service),
            }


def again(given: Prepared, network: nn.Module) -> nn.Module:
    """A copy of the network, trained on as it was for the curves."""
    return train(copy.deepcopy(network), given.train, AGAIN, LR_AGAIN, given.seed)


def tested(given: Prepared, network: nn.Module, service: MeasurementService) -> dict[str, float]:
    """Accuracies in per cent, MB and ms of a network, tested and timed as exported."""
    validation = evaluate(network, given.validation, {"percent": percent})["percent"]
    return {"validation": validation, "mb": size_mb(network), **deployed(given, network, service)}


def objects_error(examples: Examples, unpruned: nn.Module, network: nn.Module) -> float:
    """The standard error by which a loss of accuracy on some objects differs from that on as many others."""
    x, y = examples[:]
    hits = [
        (outputs_of(each, x).argmax(1) == y).double().view(CROPS, -1).mean(0) for each in (unpruned, network)
    ]
    losses = 100 * (hits[0] - hits[1])  # of each object, over its crops
    return math.sqrt(2 / len(losses)) * float(losses.std())


def side_by_side(given: Prepared, network: nn.Module, service: MeasurementService) -> dict[str, float]:
    """The time in ms of the slowest branch, each timed by itself and multiplied by its scale."""
    times = [given.branches.latency_ms(n, network, target=TARGET, service=service) for n in BRANCHES]
    return {"slowest ms": float((given.scales * times).max())}


def deployed(given: Prepared, network: nn.Module, service: MeasurementService) -> dict[str, float]:
    """The exported network's test accuracy in per cent, and its latency in ms."""
    example = given.branches.example_input[:1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(fold_batch_norm(capture(network, example)), path)
        measured = service.measure(TARGET, path.read_bytes(), feed_of(example))
        predict = function_of(backends.get(TARGET).load(path), outputs_of(network, example))
        accurate = evaluate(predict, given.test, {"percent": percent})["percent"]
    return {"accuracy": accurate, "ms": measured["latency_ms"]}


def paired(differences: Floats) -> tuple[float, float]:
    """The mean of (seeds, folds), and half its 95 % interval over folds, a fold's repetitions averaged."""
    from scipy.stats import t

    folds = differences.mean(axis=0)
    half = t.ppf(0.975, len(folds) - 1) * folds.std(ddof=1) / math.sqrt(len(folds))
    return float(folds.mean()), float(half)


def show(table: pd.DataFrame, seeds: int) -> dict[str, float]:
    """Print the table, a row for each case and method; the figures."""
    print(f"{NAME}: {FOLDS} folds by object, {seeds} seeds; means (standard deviation over networks)")
    print(f"{'':28}" + "".join(f"{column:>22}" for column in COLUMNS))
    figures = {}
    for (case, method), rows in table.groupby(["case", "method"], sort=False):
        cells = []
        for column in COLUMNS:
            mean, spread = rows[column].mean(), rows[column].std()
            digits = 2 if column in ACCURACIES else 4
            cells.append("" if np.isnan(mean) else f"{mean:.{digits}f} ({spread:.{digits}f})")
            figures |= {} if np.isnan(mean) else {f"{case}: {method} {column}": float(mean)}
        print(f"{f'{case}: {method}':28}" + "".join(f"{cell:>22}" for cell in cells))
    for case in [c for c in table["case"].unique() if c != "unpruned"]:
        figures |= show_case(case, table[table["case"] == case], seeds)
    return figures


def show_case(case: str, rows: pd.DataFrame, seeds: int) -> dict[str, float]:
    """Differences between the two networks, and whether they keep the floor."""
    figures = {}

    def column(method: str, name: str) -> Floats:
        return rows[rows["method"] == method][name].to_numpy(dtype=np.float64).reshape(seeds, FOLDS)

    mean, half = paired(column("divided", "accuracy") - column("uniform", "accuracy"))
    figures |= {f"{case}: less uniform, accuracy": mean, f"{case}: less uniform, accuracy +-": half}
    print(f"{case}: divided less uniform, accuracy: {mean:+.2f} +- {half:.2f} points")
    for name in ("mb", "ms", "slowest ms"):
        divided, uniform = column("divided", name), column("uniform", name)
        if np.isfinite(divided).all():
            mean, half = paired(np.log(divided / uniform))
            bounds = {"": mean, ", low": mean - half, ", high": mean + half}
            ratios = {f"{case}: of uniform, {name}{bound}": math.exp(log) for bound, log in bounds.items()}
            text = "{:.3f} ({:.3f} to {:.3f})".format(*ratios.values())
            print(f"{case}: divided by uniform, {name}: {text}")
            figures |= ratios
    for method in ("divided", "uniform"):
        short, error = column(method, "floor") - column(method, "accuracy"), column(method, "error")
        mean, half = paired(short)
        figures |= {f"{case}: {method} short of floor": mean, f"{case}: {method} short of floor +-": half}
        print(f"{case}: {method} is {mean:+.2f} +- {half:.2f} points short of the floor")
        both = np.hypot(error, column(method, "objects"))
        for what, each in (("the curves' error", error), ("that and other objects'", both)):
            kept = float((short <= BAND * each).mean())
            figures |= {
                f"{case}: {method} within {what}": kept,
                f"{case}: {method}, {what}": float(each.mean()),
            }
            print(f"    within {BAND} x {what} ({each.mean():.2f}) in {100 * kept:.0f} % of networks")
    return figures


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and, with --json, the figures."""
    options = arguments(__doc__, seeds=3).parse_args(argv)
    torch.set_num_threads(1)
    views = eth80(data_file(options.data, "eth80/eth80_ring12.npz"))
    service, times, rows = MeasurementService(PROTOCOL), None, []
    for seed in range(options.seeds):
        for index in range(FOLDS):
            given, times = prepare(views, index, seed, times)
            rows += compared(given, service)
    figures = show(pd.DataFrame(rows), options.seeds)
    if options.json:
        report(NAME, {name: round(value, 4) for name, value in figures.items()}, {})


if __name__ == "__main__":
    main()
