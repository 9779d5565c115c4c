"""What trials report: raysearch's own metrics in one table, beside those that a task names.

A metric's key is its name, with the target behind it where it is of one: "size_mb",
"latency_ms/onnxruntime-cpu". What was evaluated on the test split has "test_" in front: "test_accuracy"; the
standard error of a difference from the parent, on the validation split, has "se_": "se_accuracy". A
task's metrics are given by their names and units, ``{"accuracy": "share"}``; what only the task knows of one,
its unit and which way is better, is left open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from raysearch.basics.failures import UserError

Source = Literal[
    "measured",
    "predicted",
    "static",
    "counted on the trained weights",
    "counted on the validation split",
    "the task",
]

#: The unit of what lies in [0, 1] and is written in per cent.
SHARE = "share"
#: What a task reports that names no metrics of its own.
DEFAULT = {"accuracy": SHARE}
TEST = "test_"
ERROR = "se_"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: how objectives and constraints spell it; of ``find``, the whole key.
        label: in words.
        unit: "ms", "MB", ``SHARE``; empty for counts and for what only the task knows.
        static: it does not depend on the weights' values, so that it is known before the first epoch.
        per_target: there is a figure for each target and none without.
        source: where its figures come from.
        higher_is_better: None where only the task knows.
        description: one line.
    """

    name: str
    label: str
    unit: str
    static: bool
    per_target: bool
    source: Source
    higher_is_better: bool | None
    description: str

    @property
    def form(self) -> str:
        """How keys of it look: "latency_ms/TARGET"."""
        return f"{self.name}/TARGET" if self.per_target else self.name

    @property
    def title(self) -> str:
        """For an axis or the head of a column: "latency, ms (onnxruntime-cpu)"."""
        target = self.name.partition("/")[2]
        unit = f", {self.unit}" if self.unit not in ("", SHARE) else ""
        return self.label + unit + (f" ({target})" if target else "")


_TABLE = (
    Metric(
        "latency_ms", "latency", "ms", True, True, "measured", False,
        "milliseconds of one inference, of a batch of the target's size (1)",
    ),
    Metric(
        "throughput", "throughput", "1/s", True, True, "measured", True,
        "inputs a second, in batches of the target's size one after another",
    ),
    Metric(
        "energy_mj", "energy", "mJ", True, True, "measured", False,
        "millijoules of one inference, of a batch of the target's size, beyond what the device draws at "
        "rest, by the target's meter",
    ),
    Metric(
        "peak_memory_mb", "peak memory", "MB", True, True, "static", False,
        "weights plus the largest sum of live tensors, in 10^6 bytes; of microcontrollers and their NPUs the "
        "working memory that the runtime or compiler asks for",
    ),
    Metric(
        "flash_mb", "flash", "MB", True, True, "measured", False,
        "what a microcontroller keeps of the model, in 10^6 bytes",
    ),
    Metric(
        "size_mb", "size", "MB", True, False, "static", False,
        "weights and biases in 10^6 bytes, bits counted analytically",
    ),
    Metric(
        "file_mb", "file", "MB", True, False, "static", False,
        "bytes of the file that is shipped, in 10^6",
    ),
    Metric(
        "macs", "MACs", "", True, False, "static", False,
        "multiply-accumulate operations of one inference",
    ),
    Metric(
        "params", "parameters", "", True, False, "static", False,
        "number of weights",
    ),
    Metric(
        "nonzero_rate", "nonzero weights", SHARE, False, False, "counted on the trained weights", False,
        "share of the weights that are not zero",
    ),
)  # fmt: skip

MEAN_LATENCY, EXIT_SHARE = "mean_latency_ms", "exit_share"
# Of studies in which some networks may be left early.
_EXITS = (
    Metric(
        MEAN_LATENCY, "mean latency", "ms", False, True, "measured", False,
        "milliseconds of one inference in the mean over the validation split: the measured latencies of an "
        "input that leaves early and of one that does not, by the share that leaves",
    ),
    Metric(
        EXIT_SHARE, "leaving early", SHARE, False, False, "counted on the validation split", True,
        "share of the inputs that leave early, 0 of a network without an exit",
    ),
)  # fmt: skip

#: raysearch's own metrics, by name.
OWN = {metric.name: metric for metric in (*_TABLE, *_EXITS)}

#: Under it a result of Ray Tune's holds what a trial tells its study.
RESULT_KEY = "raysearch"
# What goals, the tables of runs and sweeps and what Ray Tune adds to every result call something else.
_TAKEN = re.compile(
    f"{RESULT_KEY}|parent|step|loss|architecture|pruning|bits|teacher|training|test_.*|se_.*|"
    "trial|role|origin|outcome|reason|epochs|complete|feasible|violation|front|seconds|is_parent|notes|predicted|"
    "searched_.*|tied_.*|times_.*|verdict.*|branch|ratio|network_mb|network_ms|left_out|"
    "done|config|date|timestamp|hostname|node_ip|pid|training_iteration|trial_id|trainable_name|"
    "experiment_id|experiment_tag|should_checkpoint|checkpoint_dir_name|time_this_iter_s|time_total_s|"
    "(time|timesteps|iterations)_since_restore|(timesteps|episodes)_(this_iter|total)|__.*"
)
_NAME = re.compile(r"[A-Za-z_]\w*")


def find(key: str, task: Mapping[str, str] = DEFAULT) -> Metric:
    """What is known of the metric behind a key, which becomes its name.

    Args:
        key: such as "latency_ms/onnxruntime-cpu" or "test_accuracy"; an unknown one is taken for the task's.
        task: the task's metrics, by name, with their units.
    """
    name = base(key)
    if name in OWN:
        own = OWN[name]
        return replace(own, name=key, label=f"test {own.label}" if key.startswith(TEST) else own.label)
    unit = task.get(name, "")
    if key.startswith(ERROR):
        return Metric(
            key,
            f"standard error of {name}",
            unit,
            static=False,
            per_target=False,
            source="the task",
            higher_is_better=False,
            description=f"standard error of the difference in {name} from the parent, validation split",
        )
    split = "test" if key.startswith(TEST) else "validation"
    return Metric(
        key,
        f"test {name}" if split == "test" else name,
        unit,
        static=False,
        per_target=False,
        source="the task",
        higher_is_better=True if name in DEFAULT else None,
        description=f"the task's metric of the exported file on the {split} split, the worst over the "
        "targets (the lowest where no goal names it); with a target, in that target's runtime",
    )


def base(key: str) -> str:
    """The name alone: without the target, and without what says that it is of the test split, or an error."""
    return key.split("/")[0].removeprefix(TEST).removeprefix(ERROR)


def is_static(key: str) -> bool:
    """Whether the metric is known before training ("latency_ms/onnxruntime-cpu" is, "accuracy" is not)."""
    name = key.split("/")[0]
    return name in OWN and OWN[name].static


def reported(
    targets: Mapping[str, Iterable[str]], task: Iterable[str] = DEFAULT, *, exits: bool = False
) -> list[str]:
    """Every key that a trial reports on these targets: "accuracy", "latency_ms/onnxruntime-cpu", ...

    Args:
        targets: by name, the metrics that each can say.
        task: the task's metrics.
        exits: whether some networks may be left early.
    """
    if exits:
        targets = {t: [*said, MEAN_LATENCY] if "latency_ms" in said else said for t, said in targets.items()}
    names = list(task)
    whole = [m.name for m in _TABLE if not m.per_target]
    return [
        *names,
        *whole,
        *([EXIT_SHARE] if exits else []),
        *(f"{name}/{target}" for target in targets for name in (*names, *targets[target])),
    ]


#: The metrics of which there is a figure for each target that can say it.
PER_TARGET = tuple(metric.name for metric in _TABLE if metric.per_target)


def check_names(task: Iterable[str]) -> None:
    """Refuse names of a task's metrics that would be taken for something else.

    Raises:
        UserError: no name at all, or one that is no word, is raysearch's own or Ray Tune's, or begins with
            "test_", "se_", "searched_", "tied_", "times_", "verdict" or "__".
    """
    names = list(task)
    if not names:
        raise UserError('metrics is empty: give at least one, such as {"accuracy": accuracy}')
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(f"metrics has the name {name!r}: give a word of letters, digits and underscores")
        if name in OWN or _TAKEN.fullmatch(name):
            raise UserError(f"metrics has the name {name!r}, which is raysearch's own: give another")
