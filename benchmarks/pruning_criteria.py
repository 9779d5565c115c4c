"""Which channels go: accuracy of pruned networks at equal ratios by criterion, before any training.

Purpose: a search prunes every candidate, and of several that it has pruned trains the one that promises
most. What a criterion is worth is thus what the network can do before it is trained, and what is left of that
after an epoch (at a half). Every group of channels loses a quarter, a half and three quarters; batch norm's
statistics are taken anew for all criteria alike, on the same training images.

Acceptance: the best criterion is above random, mean over the ratios, paired by seed, p < .01 (one-sided t),
on both tasks.

Limit: the unpruned network's accuracy.

Two tasks, each seed with a parent of its own: digits (9 epochs), and CIFAR-10 at half the side with 3,000
training images, a ResNet-20 of 8 epochs; accuracy in per cent on the test split. "after" is that of one more
epoch. "seconds" are those of pruning one network, taking it apart included; one thread. The criteria that
search, annealing and genetic, take as long as training does, and are left out.

Data: CIFAR-10's archive (--data, a folder with cifar10/, or the file).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.common import Floats, arguments, report
from benchmarks.recorded.studies import small_cifar10
from raysearch import tasks
from raysearch.networks.copying import copy_of
from raysearch.networks.groups import prunable_groups
from raysearch.search_spaces.pruning.channel_pruning import CRITERIA, SEARCHED, PruningPlan
from raysearch.search_spaces.training import decode_training
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.pruning import prune
from raysearch.trainables.pruning.recalibration import recalibrated
from raysearch.trainables.task import Task
from raysearch.trainables.training.distillation import plain_loss
from raysearch.trainables.training.epoch import train_epoch
from raysearch.trainables.training.optimizers import new_optimizer
from raysearch.trainables.training.schedule import cosine

NAME = "pruning_criteria"
RULES = tuple(name for name in CRITERIA if name not in SEARCHED)
RATIOS = (0.25, 0.5, 0.75)
EPOCHS = {"digits": 9, "cifar10": 8}
TRAINED = 0.5
BEFORE = tuple(f"@{ratio:g}" for ratio in RATIOS)
KINDS = (*BEFORE, "after", "seconds")

Rows = Mapping[str, Mapping[str, Floats]]


def train(task: Task, network: nn.Module, epochs: int, seed: int) -> nn.Module:
    """The network itself, trained as a trial in float is."""
    torch.manual_seed(seed)
    plan = decode_training(task.parent["training"], quantized=False)
    optimizer = new_optimizer(network, plan)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        train_epoch(
            network,
            task.train,
            plain_loss(task.loss),
            optimizer,
            batch_size=plan.batch_size,
            lr=lambda share, epoch=epoch: plan.lr * cosine((epoch + share) / epochs),  # type: ignore[misc]
            generator=generator,
            augment=task.augment,
        )
    return network.eval()


def percent(task: Task, network: nn.Module) -> float:
    """Accuracy on the test split, in per cent."""
    return 100 * evaluate(network, task.test, task.metrics)["accuracy"]


def pruned(task: Task, parent: nn.Module, plan: PruningPlan, seed: int) -> tuple[nn.Module, float]:
    """A copy of the parent without the channels that a plan removes, and the seconds that pruning took."""
    network = copy_of(parent)
    torch.manual_seed(seed)
    start = time.perf_counter()
    prune(network, task.example_input(), plan, examples=task.train, collate=task.collate, loss=task.loss)
    seconds = time.perf_counter() - start
    return recalibrated(network, task.train, task.collate, seed), seconds


def measure(task: Task, epochs: int, seed: int) -> dict[str, dict[str, float]]:
    """A row for each criterion, and the parent's, of one seed."""
    torch.manual_seed(seed)
    parent = train(task, task.build(None), epochs, seed)
    groups = prunable_groups(parent, task.example_input())
    rows = {"unpruned": {**dict.fromkeys(KINDS, percent(task, parent)), "seconds": 0.0}}
    for rule in RULES:
        row = rows[rule] = {"seconds": 0.0}
        for ratio in RATIOS:
            plan = PruningPlan(dict.fromkeys(groups, ratio), rule, multiple=1)
            network, seconds = pruned(task, parent, plan, seed)
            row["seconds"] += seconds / len(RATIOS)
            row[f"@{ratio:g}"] = percent(task, network)
            if ratio == TRAINED:
                row["after"] = percent(task, train(task, network, 1, seed))
    return rows


def p_value(rows: Rows, kinds: Sequence[str], better: str, worse: str) -> float:
    """One-sided paired t-test over seeds that a criterion's mean over some kinds is above another's."""
    from scipy.stats import ttest_rel

    values = (np.mean([rows[name][kind] for kind in kinds], axis=0) for name in (better, worse))
    return float(ttest_rel(*values, alternative="greater").pvalue)


def show(task: str, rows: Rows) -> dict[str, float]:
    """Print a task's table; its figures."""
    print(f"{NAME}, {task}: accuracy in per cent, mean (standard deviation over seeds)")
    print(f"{'':18}" + "".join(f"{kind:>14}" for kind in KINDS))
    figures = {}
    for name, row in rows.items():
        cells = [f"{row[k].mean():.2f} ({row[k].std(ddof=1):.2f})" for k in KINDS]
        print(f"{name:18}" + "".join(f"{cell:>14}" for cell in cells))
        figures |= {f"{task}/{name}/{k}": round(float(row[k].mean()), 4) for k in KINDS}
    for when, kinds in (("before", BEFORE), ("after", ("after",))):
        best = max(RULES, key=lambda name: np.mean([rows[name][kind] for kind in kinds]))
        for other in sorted({"random", "magnitude"} - {best}):
            figures[f"{task}/p {when}: {best} above {other}"] = p_value(rows, kinds, best, other)
            print(f"{when}: {best} above {other}: p = {p_value(rows, kinds, best, other):.1e}")
    return figures


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    options = arguments(__doc__, seeds=5).parse_args(argv)
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for name, epochs in EPOCHS.items():
        found = [measure(task_of(name, options.data, seed), epochs, seed) for seed in range(options.seeds)]
        rows = {r: {k: np.array([one[r][k] for one in found]) for k in KINDS} for r in found[0]}
        figures |= show(name, rows)
    if options.json:
        report(NAME, figures, {})


def task_of(name: str, data: Path | None, seed: int) -> Task:
    """Digits, split by the seed, or CIFAR-10."""
    return tasks.digits(seed) if name == "digits" else small_cifar10(data)


if __name__ == "__main__":
    main()
