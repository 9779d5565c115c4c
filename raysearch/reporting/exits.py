"""What an early exit is worth: its figures, the plain variant of equal mean latency, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from raysearch.metrics import EXIT_SHARE, MEAN_LATENCY, TEST
from raysearch.record.choices import Beside, leaves_early, plain_beside
from raysearch.record.results import RunResult
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.scores import goals_of, is_complete
from raysearch.reporting.figures import UNKNOWN, metric_value, number
from raysearch.reporting.page import section, table

_FORMS = {"one_file": "one file", "two_files": "two files"}


def exit_sentences(record: RunRecord, trial: TrialRecord) -> list[str]:
    """For each target what the variant's early exit comes to, and the verdict; none without one."""
    if not leaves_early(trial):
        return []
    goals = goals_of(record, final=bool(trial.final))
    said = []
    for target, measured in _latest(trial).items():
        mean = trial.values.get(f"{MEAN_LATENCY}/{target}", math.nan)
        said.append(
            f"On {target} {_share(record, trial)} of the inputs leave early, after "
            f"{number(measured['early_ms'])} ms; the others take {number(_whole(measured))} ms; the mean "
            f"latency is {number(mean)} ms.{_over_data(measured)}"
        )
        beside = plain_beside(record, goals, trial, target)
        if beside is not None:
            said.append(verdict(record, trial, beside, target))
    return said


def verdict(record: RunRecord, trial: TrialRecord, beside: Beside, target: str) -> str:
    """Whether the exit is worth it, in a sentence, also where it is not."""
    plain = beside.plain
    if plain is None:
        return (
            f"No plain variant of this search is as fast on {target} in the mean: the early exit is worth it."
        )
    metric = record.metric(beside.metric)
    own, other = (metric_value(metric, t.values.get(metric.name, math.nan)) for t in (trial, plain))
    latency = number(plain.values.get(f"latency_ms/{target}", math.nan))
    if beside.worth_it:
        said = "worth it"
    elif beside.gain > 0 and not metric.name.startswith(TEST):
        said = "ahead on the validation split, and neither was tested"
    elif beside.gain > 0:
        said = "not worth it, for the difference is within its noise"
    else:
        said = "not worth it"
    return (
        f"The plain variant of equal mean latency, {plain.name} ({latency} ms): {metric.label} {other}, this "
        f"one's {own}. The early exit is {said}."
    )


def exits_section(result: RunResult) -> str:
    """The page's section on early exits; empty in a study without."""
    record, goals = result.record, goals_of(result.record)
    complete = [t for t in record.searched() if leaves_early(t) and is_complete(t, goals)]
    if not any(leaves_early(t) for t in record.searched()):
        return ""
    names = {t.name for t in result.front_records}
    shown = [t for t in complete if t.name in names]
    if not shown:
        text = f"None of the {len(complete)} complete variants with an early exit is on the front"
        return section("Early exit", f"<p>{text}: they are not worth it beside the plain ones.</p>")
    head = ["variant", "exit", "leave early", "mean latency, ms", "one file: mean, p99, ms"]
    head += ["two files: mean, p99, ms", "plain of equal mean latency", "verdict"]
    rows = [("", cells) for trial in shown for cells in _rows(record, trial)]
    return section("Early exit", _TEXT, table(head, rows))


_TEXT = (
    "<p>Mean latency is over the validation split, by the measured latencies of an input that leaves early "
    "and of one that does not. Both forms of a variant were also timed over inputs of the test split, one by "
    "one, as a program calls them. The plain variant is the best that takes no longer in the mean.</p>"
)


def _rows(record: RunRecord, trial: TrialRecord) -> Iterator[list[str]]:
    goals = goals_of(record, final=bool(trial.final))
    for target, measured in _latest(trial).items():
        beside = plain_beside(record, goals, trial, target)
        over = measured.get("over_data", {})
        name = trial.name if len(record.targets) == 1 else f"{trial.name} ({target})"
        yield [
            escape(name),
            escape(_exit(trial.config)),
            escape(_share(record, trial)),
            number(trial.values.get(f"{MEAN_LATENCY}/{target}", math.nan)),
            *(_mean_and_p99(over.get(form)) for form in _FORMS),
            escape(beside.plain.name) if beside and beside.plain else UNKNOWN,
            escape(verdict(record, trial, beside, target)) if beside else UNKNOWN,
        ]


def _exit(config: Mapping[str, Any]) -> str:
    architecture = config.get("architecture")
    return str(architecture.get("exits", UNKNOWN)) if isinstance(architecture, Mapping) else UNKNOWN


def _latest(trial: TrialRecord) -> dict[str, Mapping[str, Any]]:
    """The last measurement on each target, of those both ways."""
    return {m["target"]: m for m in trial.measurements if "early_ms" in m}


def _whole(measured: Mapping[str, Any]) -> float:
    return float(measured.get("latency_ms", math.nan))


def _share(record: RunRecord, trial: TrialRecord) -> str:
    key = f"{TEST}{EXIT_SHARE}" if f"{TEST}{EXIT_SHARE}" in trial.values else EXIT_SHARE
    return metric_value(record.metric(key), trial.values.get(key, math.nan))


def _over_data(measured: Mapping[str, Any]) -> str:
    over = measured.get("over_data", {})
    forms = [f"as {word} {_mean_and_p99(over[form])}" for form, word in _FORMS.items() if form in over]
    if not forms:
        return ""
    return (
        f" Over {over.get('inputs', UNKNOWN)} inputs of the test split, mean and p99: {', '.join(forms)} ms."
    )


def _mean_and_p99(times: Mapping[str, float] | None) -> str:
    if not isinstance(times, Mapping):
        return UNKNOWN
    return ", ".join(number(times.get(key, math.nan)) for key in ("mean_ms", "p99_ms"))
