"""Early exits of a ResNet on CIFAR-10, beside plain networks of equal mean latency from the same search.

Purpose: what leaving early is worth where networks can be made smaller instead. One search by the public API,
at eight bits: the parent pruned at several ratios, and networks that may be left after their first or their
second stage, trained jointly, as large as the parent or pruned. All start from the parent's trained weights
and train alike. Both forms of an early exit, one file with ``If`` and a cascade of two, are timed over the
test split, one input after another.

Of every trained exit each budget of mean latency is a matter of the threshold alone. So besides the budgets
of the search those of a row are set, on the validation split; the accuracy at them is the test split's.
"gain" is that accuracy, less that of the plain networks at the same latency: of the line through those that
no other plain one beats. What the test of the exit costs is the latency of an input that does not leave, as a
share of that of the same network without an exit.

Acceptance: both forms give the same classes; the mean over data of the one file is within a tenth of what
the two latencies and the share that leaves come to; the verdict is told, whatever it is. The limit: with a
share s of the inputs leaving after a share r of the time no exit makes a network faster than
1 / (1 - s (1 - r)).

Table: cifar10/cifar10_subset.npz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from ray import tune

import raysearch as rs
from benchmarks.common import arguments, data_file, report
from raysearch import search_spaces as spaces
from raysearch.backends import get
from raysearch.backends.base import clock_of
from raysearch.backends.cascade import Cascade
from raysearch.backends.measurement.over_data import one_by_one, over_data, summary
from raysearch.backends.measurement.protocol import undisturbed
from raysearch.networks.exits import Exits
from raysearch.record.choices import leaves_early, plain_beside
from raysearch.record.run_record import TrialRecord
from raysearch.results import StudyResult
from raysearch.trainables.data.batches import batches
from raysearch.trainables.exits.files import EARLY, LATE, ONE
from raysearch.trainables.exits.rule import set_rule, share_for
from raysearch.trainables.task import Task

NAME = "early_exit"
TARGET = "onnxruntime-cpu"
RATIOS = (0.0, 0.3, 0.5, 0.65)  # of the plain networks
EXITS = (("after_stage_1", 0.0), ("after_stage_2", 0.0), ("after_stage_2", 0.3))  # and their pruning ratio
_AFTER = ("after_stage_1", "after_stage_2")
BUDGET = 0.8  # of the search's own variants
TIMED = 512  # inputs, one by one
BUDGETS = (0.95, 0.9, 0.8, 0.7, 0.6)


def study(task: Task, depth: int, epochs: int, parent_epochs: int, seed: int) -> rs.Study:
    """The study, whose trials are those of the table; stages of three blocks make a ResNet-20."""
    architecture = dict(task.parent["architecture"])
    architecture |= {
        stage: {**architecture[stage], "depth": depth} for stage in ("stage1", "stage2", "stage3")
    }
    space = {
        "architecture": spaces.resnet(depth=(1, 3), width=(16, 64), width_step=16, exits=("none", *_AFTER)),
        "pruning": spaces.channel_pruning(max_ratio=0.7),
        "bits": spaces.bit_widths(weights=8, activations=8),
        "training": {**task.parent["training"], "exit_budget": tune.uniform(0.5, 1.0)},
    }
    configs = [config_of("none", ratio) for ratio in RATIOS] + [config_of(*each) for each in EXITS]
    return rs.Study(
        task,
        space,
        ["maximize accuracy", f"minimize mean_latency_ms/{TARGET}"],
        parent={"architecture": architecture, "epochs": parent_epochs},
        epochs=epochs,
        scheduler="full_training",
        evaluate_first=configs,
        seed=seed,
        screen=1,
    )


def config_of(exits: str, ratio: float) -> dict[str, Any]:
    """A network at eight bits of which a share of the channels of each part is gone."""
    parts = ("stem", "stage1", "stage2", "stage3")
    return {
        "architecture": {"exits": exits},
        "pruning": {"ratios": dict.fromkeys(parts, ratio)},
        "bits": {"stem": {"weights": 8, "activations": 8}},
        "training": {"exit_budget": BUDGET},
    }


@dataclass(frozen=True)
class Point:
    """A network's accuracy on the test split, its mean latency in milliseconds, and the share that leaves."""

    accuracy: float
    latency: float
    share: float = 0.0


def split_of(task: Task, name: str) -> tuple[dict[str, Any], torch.Tensor]:
    """All inputs of a split by name, and its labels."""
    ((images, labels),) = batches(getattr(task, name), 100_000)
    return {"input": images.numpy()}, labels


def exits_of(folder: Path, inputs: dict[str, Any]) -> Exits:
    """The logits of both ends of a variant, in its runtime: the second file runs on all inputs."""
    target = get(TARGET)
    output, _, *cut = target.load(folder / EARLY)(inputs)
    names = [value.name for value in onnx.load(str(folder / LATE)).graph.input]
    (last,) = target.load(folder / LATE)(dict(zip(names, cut, strict=True)))
    return Exits(torch.from_numpy(output), torch.from_numpy(last))


def accuracy_of(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of right classes."""
    return float((outputs.argmax(1) == labels).float().mean())


def points_of(task: Task, folder: Path, trial: TrialRecord) -> list[Point]:
    """An exit at every budget, its thresholds set on the validation split."""
    measured = latest(trial)
    early, whole = measured["early_ms"], measured["latency_ms"]
    (validation, labels), (test, tested) = split_of(task, "validation"), split_of(task, "test")
    known, asked = exits_of(folder, validation), exits_of(folder, test)
    found = []
    for budget in BUDGETS:
        rule = set_rule(known, labels, share_for(budget, {TARGET: (early, whole)}))
        share = float(rule.leaves(asked.early).float().mean())
        mean = share * early + (1 - share) * whole
        found.append(Point(accuracy_of(rule.outputs(asked), tested), mean, share))
    return found


def plain_point(task: Task, folder: Path, trial: TrialRecord) -> Point:
    """A plain variant on the test split."""
    inputs, labels = split_of(task, "test")
    (outputs,) = get(TARGET).load(folder / ONE)(inputs)
    return Point(accuracy_of(torch.from_numpy(outputs), labels), latest(trial)["latency_ms"])


def latest(trial: TrialRecord) -> dict[str, Any]:
    """A trial's last measurement."""
    return trial.measurements[-1]


def plain_accuracy(plain: list[Point], latency: float) -> float:
    """The accuracy of the line through the plain front at a latency; its ends hold beyond them.

    Below the fastest plain network there is nothing to compare with: NaN.
    """
    front = sorted(
        (p for p in plain if not any(q.latency <= p.latency and q.accuracy > p.accuracy for q in plain)),
        key=lambda p: p.latency,
    )
    if latency < front[0].latency:
        return float("nan")
    return float(np.interp(latency, [p.latency for p in front], [p.accuracy for p in front]))


def main(argv: list[str] | None = None) -> None:
    """Search, print the tables and, with --json, the figures."""
    parser = arguments(__doc__, seeds=1)
    parser.add_argument("--depth", type=int, default=3, help="blocks a stage: 3 is ResNet-20, 1 ResNet-8")
    parser.add_argument("--epochs", type=int, default=4, help="of each trial (default 4)")
    parser.add_argument("--parent-epochs", type=int, default=8, help="of the parent (default 8)")
    parser.add_argument("--runs", type=Path, default=Path("runs/early_exit"), help="where the runs lie")
    options = parser.parse_args(argv)
    folder = data_file(options.data, "cifar10/cifar10_subset.npz").parent
    rows = []
    for seed in range(options.seeds):
        task = rs.tasks.cifar10(folder, seed=seed)
        made = study(task, options.depth, options.epochs, options.parent_epochs, seed)
        result = made.run(len(RATIOS) + len(EXITS), folder=options.runs / f"seed{seed}", progress=False)
        rows.append(examined(task, result))
    if options.json:
        figures = {key: round(float(np.nanmean([row[key] for row in rows])), 4) for key in rows[0]}
        plain = {key: value for key, value in figures.items() if key.startswith("plain_")}
        report(NAME, {k: v for k, v in figures.items() if k not in plain}, {"plain": plain})


def examined(task: Task, result: StudyResult) -> dict[str, float]:
    """Print the tables of one search, and give the figures of its best exit."""
    folder = Path(str(result.folder)) / "variants"
    trials = [t for t in result.record.searched() if t.outcome == "finished"]
    plain = {t.name: plain_point(task, folder / t.name, t) for t in trials if not leaves_early(t)}
    print(f"\n{'plain':28}{'latency, ms':>12}{'accuracy':>10}")
    for name, point in plain.items():
        print(f"{name:28}{point.latency:>12.3f}{point.accuracy:>10.4f}")
    same = plain[trials[0].name]
    best: dict[str, float] = {}
    for trial in filter(leaves_early, trials):
        measured = latest(trial)
        cost = measured["latency_ms"] / same.latency - 1
        where = trial.config["architecture"]["exits"]
        print(
            f"\n{trial.name} {where}: leaves after {measured['early_ms']:.3f} ms, runs to its end in "
            f"{measured['latency_ms']:.3f} ms ({cost:+.1%} of the parent at eight bits)"
        )
        print(f"{'budget':>8}{'leave early':>12}{'mean, ms':>10}{'accuracy':>10}{'plain':>8}{'gain':>8}")
        for budget, point in zip(BUDGETS, points_of(task, folder / trial.name, trial), strict=True):
            beside = plain_accuracy(list(plain.values()), point.latency)
            gain = point.accuracy - beside
            print(
                f"{budget:>8}{point.share:>12.3f}{point.latency:>10.3f}{point.accuracy:>10.4f}{beside:>8.4f}"
                f"{gain:>+8.4f}"
            )
            if not gain <= best.get("gain", -1.0):
                best |= {"gain": gain, "accuracy_at_gain": point.accuracy, "plain_accuracy": beside}
        own = as_searched(task, result, trial)
        if own["accuracy"] > best.get("accuracy", 0.0):
            best |= own
    return best


def as_searched(task: Task, result: StudyResult, trial: TrialRecord) -> dict[str, float]:
    """An exit as the search has deployed it, and the plain variant beside it, over the test split.

    Every network is timed in turn on the same inputs, one by one, in units of the parent.
    """
    beside = plain_beside(result.record, result.goals, trial, TARGET)
    variants, target = Path(str(result.folder)) / "variants", get(TARGET)
    folder = variants / trial.name
    forms: dict[str, Any] = {
        "one_file": target.load(folder / ONE),
        "two_files": Cascade(target, folder / EARLY, folder / LATE),
    }
    if beside and beside.plain:
        forms["plain_file"] = target.load(variants / beside.plain.name / ONE)
    inputs, labels = split_of(task, "test")
    reference = target.load(variants / "parent" / ONE).runner({"input": inputs["input"][:1]})
    with undisturbed():
        ratios = over_data(forms, one_by_one(inputs)[:TIMED], reference, clock_of(target))
    unit = latest(result.record.trials["parent"])["reference_ms"]
    (outputs,), (leaves,) = forms["one_file"](inputs), [target.load(folder / EARLY)(inputs)[1]]
    found = {"accuracy": accuracy_of(torch.from_numpy(outputs), labels), "leave_early": float(leaves.mean())}
    (cascaded,) = forms["two_files"](inputs)
    found["same_classes"] = float((cascaded.argmax(1) == outputs.argmax(1)).mean())
    found["mean_latency_ms"] = trial.values[f"mean_latency_ms/{TARGET}"]
    for form, times in ratios.items():
        said = summary(times, unit)
        print(f"     {form:10} mean {said['mean_ms']:.3f} ms, p99 {said['p99_ms']:.3f} ms")
        found |= {f"{form}_mean_ms": said["mean_ms"], f"{form}_p99_ms": said["p99_ms"]}
    if beside and beside.plain:
        (plain,) = forms["plain_file"](inputs)
        found["plain_at_equal_latency"] = accuracy_of(torch.from_numpy(plain), labels)
    worth = bool(beside and beside.worth_it)
    rival = found.get("plain_at_equal_latency", float("nan"))
    print(
        f"     accuracy {found['accuracy']:.4f}, {found['leave_early']:.1%} leave; the plain variant of "
        f"equal mean latency {rival:.4f}: {'worth it' if worth else 'not worth it'}"
    )
    return {**found, "worth_it": float(worth)}


if __name__ == "__main__":
    main()
