"""What is done to a network at once or over its epochs: pruning, zeros, bits, the inputs' size, precision.

Purpose: each of these settings has a simple value, with which all is done at once and in full, and others
that spread it over a trial's epochs or compute with less. What they are worth is accuracy after equally many
epochs from the same trained parent, and for precision and inputs that grow the processor time as well. Three
tables: channels (.75 of every group) in steps, in float and at 8/8 bits; single weights in patterns and
steps; and training, of a network that loses half of its channels at once.

Acceptance: a setting's default is the other value only if it wins clearly on every task: by accuracy with
p < .01 over its reference (two-sided t-test, paired by seed), or at a difference within half a point in under
.8 of the processor time. Else it stays the simple one.

Limit: the dense network trained on ("weights", dense).

Two tasks, each seed with a parent of its own: digits, split by the seed, and, where --data is given, CIFAR-10
at half the side with 3,000 training images, a ResNet-20; parents and trials of 9 epochs each. Accuracy in per
cent is that of the exported model in ONNX Runtime, on validation and test split together, as neither decides
anything. Trials of different rows have different training seeds, as in a study, which come from their
configs: the difference of two rows holds that noise too. The rows of a table take turns epoch by epoch, so
that what else the machine does meets all of them alike; "time" is the processor time of the epochs, one
thread, over the reference's. Latency is not measured.

Run: `python -m benchmarks.schedules [--data PATH] [--seeds N] [--json]`; digits take some minutes a seed on a
core that does other work.

Data: CIFAR-10's archive (--data, a folder with cifar10/, or the file).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from benchmarks.common import Floats, arguments, report
from benchmarks.recorded.studies import TARGET, small_cifar10
from raysearch import search_spaces as spaces
from raysearch import tasks
from raysearch.backends import get
from raysearch.trainables.setup import Config, TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.task import Task

NAME = "schedules"
EPOCHS = 9
KINDS = ("accuracy", "size_mb", "nonzero_rate", "seconds")
STEPS = (1, 2, 3, 6)

Found = Mapping[str, Mapping[str, Floats]]


@dataclass(frozen=True)
class Row:
    """A trial: how its config differs from the parent's, and the row that it is compared with, if any."""

    config: Config
    reference: str = ""


def tables(task: Task) -> dict[str, dict[str, Row]]:
    """The rows of each table."""
    parts = tuple(part for part in task.parent["architecture"] if part.startswith("st") and part != "stages")
    return {"channels": channels(parts), "weights": weights((*parts, "head")), "training": training(parts)}


def channels(parts: tuple[str, ...]) -> dict[str, Row]:
    """Channels that go in steps."""
    rows = {}
    for bits, config in {"float": {}, "8/8": {"bits": uniform(parts, 8)}}.items():
        for steps in STEPS:
            pruned = {"pruning": {**fewer(parts, 0.75), "steps": steps}}
            rows[f"{bits}, steps {steps}"] = Row(
                {**config, **pruned}, f"{bits}, steps 1" if steps > 1 else ""
            )
    return rows


def weights(parts: tuple[str, ...]) -> dict[str, Row]:
    """Weights that become zero."""

    def zeros(pattern: str, share: float = 0.0, steps: int = 1) -> Config:
        ratios = {"ratios": dict.fromkeys(parts, share)} if share else {}
        return {"pruning": {"sparsity": {"pattern": pattern, "steps": steps, **ratios}}}

    return {
        "dense": Row({}),
        ".5": Row(zeros("unstructured", 0.5), "dense"),
        "2:4": Row(zeros("2:4"), ".5"),
        ".9, steps 1": Row(zeros("unstructured", 0.9), "dense"),
        ".9, steps 3": Row(zeros("unstructured", 0.9, 3), ".9, steps 1"),
    }


def training(parts: tuple[str, ...]) -> dict[str, Row]:
    """How it is trained."""
    half = {"pruning": fewer(parts, 0.5)}
    rows = {
        "float32": Row(half),
        "bf16": Row({**half, "training": {"precision": "bf16"}}, "float32"),
        "first size .5": Row({**half, "training": {"first_size": 0.5}}, "float32"),
    }
    for bits in (4, 2):
        low = {**half, "bits": uniform(parts, bits)}
        rows[f"{bits} bits, stages 1"] = Row(low)
        rows[f"{bits} bits, stages 2"] = Row({**low, "training": {"bit_stages": 2}}, f"{bits} bits, stages 1")
    return rows


def fewer(parts: tuple[str, ...], ratio: float) -> Config:
    """Every group of channels loses a share."""
    return {"multiple": 1, "ratios": dict.fromkeys(parts, ratio)}


def uniform(parts: tuple[str, ...], bits: int) -> Config:
    """So many bits for all weights but those of the last layer, which has 8; activations have 8."""
    found = {part: {"own": True, "weights": bits, "activations": 8} for part in (*parts, "head")}
    del found[parts[0]]["own"]
    found["head"]["weights"] = 8
    return found


def measure(task: Task, epochs: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """The figures of all rows of all tables, of one seed."""
    whole = replace(task, validation=both(task))
    space = spaces.bind(
        {"pruning": spaces.channel_pruning() | spaces.weight_sparsity(), "bits": spaces.bit_widths()},
        parent=task.parent,
    )
    with tempfile.TemporaryDirectory() as folder:
        setup = TrialSetup(
            whole,
            space,
            (get(TARGET),),
            epochs,
            Path(folder),
            references={"parent": task.parent},
            seed=seed,
            parent_epochs=epochs,
        )
        take_turns({"parent": TrialStages(setup, "parent", task.parent, unmeasured)})
        return {table: run(setup, rows) for table, rows in tables(task).items()}


def run(setup: TrialSetup, rows: Mapping[str, Row]) -> dict[str, dict[str, float]]:
    """The figures of a table's rows."""
    trials = {
        name: TrialStages(setup, name.replace("/", ":"), config_of(setup.task, row), unmeasured)
        for name, row in rows.items()
    }
    return take_turns(trials)


def config_of(task: Task, row: Row) -> Config:
    """A row's whole config."""
    own = row.config.get("training", {})
    return {**task.parent, **row.config, "training": {**task.parent["training"], **own}}


def take_turns(trials: Mapping[str, TrialStages]) -> dict[str, dict[str, float]]:
    """Run trials of equally many steps, one step of each after another; their figures."""
    seconds = dict.fromkeys(trials, 0.0)
    last = next(iter(trials.values())).last_step
    for step in range(last + 1):
        for name, trial in trials.items():
            start = time.process_time()
            trial.next_report()
            if 0 < step < last:
                seconds[name] += time.process_time() - start
    found = {}
    for name, trial in trials.items():
        values = {**trial.reports[0].values, **trial.reports[-1].values, "seconds": seconds[name]}
        values["accuracy"] *= 100
        found[name] = {kind: values[kind] for kind in KINDS}
    return found


def unmeasured(
    target: str,
    path: Path,
    example: Any,
    *,
    reference: bool = False,
    again: bool = False,
    description: Any = None,
) -> dict[str, Any]:
    """A measurement that takes no time."""
    return {"target": target, "latency_ms": 1.0}


def both(task: Task) -> TensorDataset:
    """The examples of validation and test split."""
    pairs = zip(task.validation.tensors, task.test.tensors, strict=True)  # type: ignore[attr-defined]
    return TensorDataset(*(torch.cat(pair) for pair in pairs))


def p_value(differences: Floats) -> float:
    """Two-sided t-test over seeds that the mean difference is not zero; 1 where all of them are."""
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue) if differences.any() else 1.0


def compared(found: Found, name: str, reference: str) -> dict[str, float]:
    """A row's difference from another in accuracy, and its time as a share; mean, spread and p."""
    differences = found[name]["accuracy"] - found[reference]["accuracy"]
    times = found[name]["seconds"] / found[reference]["seconds"]
    return {
        "difference": float(differences.mean()),
        "spread": float(differences.std(ddof=1)),
        "p": p_value(differences),
        "time": float(times.mean()),
        "time_spread": float(times.std(ddof=1)),
    }


def show(title: str, rows: Mapping[str, Row], found: Found) -> dict[str, float]:
    """Print a table; its figures."""
    print(f"{NAME}, {title}: mean (standard deviation over seeds)")
    print(f"{'':18}{'accuracy':>16}{'size_mb':>10}{'nonzero':>10}  difference, p, time against")
    figures = {}
    for name, row in rows.items():
        values = found[name]
        cell = f"{values['accuracy'].mean():.2f} ({values['accuracy'].std(ddof=1):.2f})"
        line = f"{name:18}{cell:>16}{values['size_mb'].mean():10.4f}{values['nonzero_rate'].mean():10.3f}"
        each = {kind: float(values[kind].mean()) for kind in KINDS}
        if row.reference:
            against = compared(found, name, row.reference)
            each |= against
            line += "  {difference:+.2f} ({spread:.2f}), {p:.1e}, {time:.2f} ({time_spread:.2f})".format(
                **against
            )
            line += f" {row.reference}"
        print(line)
        figures |= {f"{title}/{name}/{kind}": round(value, 5) for kind, value in each.items()}
    return figures


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and, with --json, the figures."""
    options = arguments(__doc__, seeds=5).parse_args(argv)
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for name in ("digits", "cifar10") if options.data else ("digits",):
        each = [measure(task_of(name, options.data, seed), EPOCHS, seed) for seed in range(options.seeds)]
        for table, rows in tables(task_of(name, options.data, 0)).items():
            found = {
                row: {kind: np.array([one[table][row][kind] for one in each]) for kind in KINDS}
                for row in rows
            }
            figures |= show(f"{name}/{table}", rows, found)
    if options.json:
        report(NAME, figures, {})


def task_of(name: str, data: Path | None, seed: int) -> Task:
    """Digits, split by the seed, or CIFAR-10."""
    return tasks.digits(seed) if name == "digits" else small_cifar10(data)


if __name__ == "__main__":
    main()
