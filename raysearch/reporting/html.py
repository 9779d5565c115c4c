"""report.html: one file that needs nothing else, with what a run found and where every figure comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from raysearch import storage
from raysearch.metrics import TEST
from raysearch.record.remarks import why_no_front
from raysearch.record.results import RunResult
from raysearch.record.run_record import TrialRecord
from raysearch.record.scores import goals_of, violation_of
from raysearch.record.ties import tied_with
from raysearch.record.verdicts import compare
from raysearch.reporting import plots, sources, sweep_page
from raysearch.reporting.exits import exits_section
from raysearch.reporting.figures import UNKNOWN, duration, metric_value, number, times
from raysearch.reporting.key_figures import key_figures
from raysearch.reporting.page import document, drawn, section, table, tiles
from raysearch.reporting.targets import side_by_side
from raysearch.storage import Place
from raysearch.storage.room import room_text

FILE_NAME = "report.html"
_TIES = 3  # named in a cell

_ENDINGS = {
    "finish": "The search ran to its end.",
    "timeout": "The search was ended by its time limit.",
    "interrupt": "The search was interrupted; raysearch resume goes on with it.",
    "storage": "A disk was full, or storage did not answer; raysearch resume goes on with the search.",
    "error": "An error ended the search; raysearch resume goes on with it.",
    "running": "The search is running; or it was killed, and raysearch resume goes on with it.",
}


def write_report(folder: Place, refresh: float | None = None) -> Place:
    """Write (or refresh) the report of a run folder from its journal.

    Args:
        folder: of the run.
        refresh: seconds after which a browser loads the page again; None: never.

    Returns:
        The path of report.html.

    Raises:
        MissingFile: the folder holds no journal.
    """
    path = folder / FILE_NAME
    storage.write(path, render(RunResult(folder), refresh))
    return path


def render(result: RunResult, refresh: float | None = None) -> str:
    """The report as one HTML document; ``refresh`` as in ``write_report``."""
    task = result.study["task"]
    name = str(task.get("name") or task.get("import"))
    body = "".join(
        (
            f"<header><h1>raysearch <span>{escape(name)}</span></h1>{_summary(result)}</header>",
            tiles(key_figures(result)),
            section("The front", _front_text(result), drawn(plots.front_pairs(result))),
            section("Variants", _variants_text(result), _variants(result), _notes(result)),
            exits_section(result),
            side_by_side(result),
            section("Stopped early", _stopped(result)),
            section("Hypervolume", _hypervolume(result), drawn([plots.hypervolume(result)])),
            section("Settings", _SETTINGS, drawn([plots.parallel_coordinates(result)])),
            section("Failed trials", _failed(result)),
            section(
                "How the figures were made",
                sources.provenance(result),
                sources.predicted(result),
                sources.definitions(result),
            ),
            section("The study", f"<pre>{escape(result.study_file())}</pre>"),
        )
    )
    return document(name, body, refresh)


# -- the head --------------------------------------------------------------------------------------


def _summary(result: RunResult) -> str:
    counts = result.counts()
    parts = [
        f"{counts['finished']} complete",
        f"{counts['stopped'] - result.untrained} stopped early",
        *([f"{result.untrained} untrained"] if result.untrained else []),
        f"{counts['failed']} failed",
    ]
    for left in ("waiting", "unfinished"):
        if counts[left]:
            parts.append(f"{counts[left]} {left}")
    candidates = "candidates" if result.record.screen > 1 else "trials"
    goals = [*map(str, result.goals.objectives), *map(str, result.goals.constraints)]
    curves = (
        f' <a href="{sweep_page.FILE_NAME}">The curves of this sweep.</a>' if "sweep" in result.study else ""
    )
    return (
        f"<p>{_ENDINGS[result.ending]} {sum(counts.values())} {candidates} in {duration(result.seconds)}: "
        f"{', '.join(parts)}.{curves} {escape(room_text(result.folder))}.</p>"
        f'<p class="goals">{escape(" · ".join(goals))}</p>'
    )


def _front_text(result: RunResult) -> str:
    said = "".join(f"<p>{escape(remark)}</p>" for remark in result.remarks)
    if not any(t.role == "trial" for t in result.front_records):
        return f"<p>{escape(why_no_front(result.record))}</p>{said}"
    return said + (
        "<p>Complete trials over each pair of objectives; the axes end near the front. The line joins what "
        "nothing beats in that pair; a variant off the line is on the front for its other figures.</p>"
    )


# -- the variants ----------------------------------------------------------------------------------


def _variants_text(result: RunResult) -> str:
    tested = any(key.startswith(TEST) for t in result.front_records for key in t.values)
    text = (
        "Latency was measured again after the search with no trial running; the test split was used once for "
        "each variant."
        if tested
        else "The front was not measured again yet: latency is from during the search."
    )
    tied = " Tied are variants whose difference on the test split is within its noise." if tested else ""
    return f"<p>{text} Faster means by more than the noise of both measurements, and at least 2 %.{tied}</p>"


def _variants(result: RunResult) -> str:
    targets = result.record.targets
    head = ["variant", *(escape(result.record.metric(key).title) for key in _qualities(result))]
    for target in targets:
        suffix = f" {escape(target)}" if len(targets) > 1 else ""
        head += [f"latency, ms{suffix}", f"than the parent{suffix}", f"than its static int8{suffix}"]
    head += ["size, MB", "file, MB", "weights", "activ.", "pruned", "teacher"]
    references = [t for t in result.record.trials.values() if t.role == "reference"]
    on_front = {t.name for t in result.front_records}
    rows = [("reference", _cells(result, t, targets, t.name in on_front)) for t in references]
    rows += [("", _cells(result, t, targets, True)) for t in result.front_records if t.role == "trial"]
    return table(head, rows)


def _qualities(result: RunResult) -> list[str]:
    """The keys of the task's metrics, each on the validation and on the test split."""
    return [key for name in result.record.metrics for key in (name, f"{TEST}{name}")]


def _cells(result: RunResult, trial: TrialRecord, targets: Iterable[str], on_front: bool) -> list[str]:
    values, parent = trial.values, result.record.parent
    name = escape(trial.name)
    if trial.role == "reference" and on_front:
        name += " <i>on the front</i>"
    cells = [name, *(_quality(result, trial, key) for key in _qualities(result))]
    for target in targets:
        cells.append(number(values.get(f"latency_ms/{target}", math.nan)))
        for rival_name in ("parent", "parent-int8"):
            rival = result.record.trials.get(rival_name)
            cells.append(_verdict(trial, rival, target) if rival and rival is not trial else "")
    for metric in ("size_mb", "file_mb"):
        value = values.get(metric, math.nan)
        ratio = parent.values.get(metric, math.nan) / value if parent and value > 0 else math.nan
        less = f" <i>{times(ratio)} smaller</i>" if ratio > 1.005 else ""
        cells.append(f"{number(value)}{less}")
    if trial.name == "parent-int8":
        return [*cells, "8 bit", "8 bit", UNKNOWN, UNKNOWN]
    return [*cells, *_settings(trial.config)]


def _quality(result: RunResult, trial: TrialRecord, key: str) -> str:
    """A task's metric, on the test split with those that it is tied with."""
    text = escape(metric_value(result.record.metric(key), trial.values.get(key, math.nan)))
    front = result.front_records
    if not key.startswith(TEST) or trial.name not in {t.name for t in front}:
        return text
    tied = tied_with(trial, front, key.removeprefix(TEST))
    more = f" and {len(tied) - _TIES} more" if len(tied) > _TIES else ""
    return f"{text} <i>tied with {escape(', '.join(tied[:_TIES]))}{more}</i>" if tied else text


def _verdict(trial: TrialRecord, rival: TrialRecord, target: str) -> str:
    ratio, verdict = compare(trial, rival, target)
    if not verdict:
        return UNKNOWN
    if verdict == "faster":
        return f'<span class="faster">{times(ratio)} faster</span>'
    return f'<span class="slower">not faster</span> <i>{times(ratio)}</i>'


def _settings(config: Mapping[str, Any]) -> list[str]:
    """Bits of weights and of activations, the highest pruning ratio, the teacher: short."""
    parts = [p for p in config.get("bits", {}).values() if isinstance(p, Mapping)]
    cells = []
    for kind in ("weights", "activations"):
        bits = sorted({int(p[kind]) for p in parts if p.get(kind)})
        cells.append(f"{'/'.join(map(str, bits))} bit" if bits else "32 bit")
    ratios = [float(r) for r in config.get("pruning", {}).get("ratios", {}).values()]
    cells.append(f"up to {100 * max(ratios):.0f} %" if any(ratios) else UNKNOWN)
    teacher = config.get("teacher", {}).get("name", "none")
    return [*cells, escape(str(teacher)) if teacher != "none" else UNKNOWN]


def _notes(result: RunResult) -> str:
    """Remarks of the front's variants and of the parent: among them, bits that a runtime runs no faster."""
    by_note: dict[str, list[str]] = {}
    parent = [result.record.parent] if result.record.parent is not None else []
    shown = {trial.name: trial for trial in [*parent, *result.front_records]}
    for trial in shown.values():
        for note in trial.notes:
            by_note.setdefault(note, []).append(trial.name)
    items = [
        f"<li>{escape(note)} <i>({escape(', '.join(names))})</i></li>" for note, names in by_note.items()
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


# -- the search ------------------------------------------------------------------------------------

_SETTINGS = (
    "<p>Each line is a complete, feasible trial; drag along an axis to select. Shown are the settings that "
    "go most with the objectives; the darker a line, the better it is in the first objective.</p>"
)


def _hypervolume(result: RunResult) -> str:
    """What the volume is, and up to where it counts."""
    text = (
        "The volume of trade-offs that the front covers, costs in units of the parent. Pauses between "
        "sessions are left out of the time."
    )
    limits = goals_of(result.record).reference
    said = ", ".join(
        f"{metric.title} {metric_value(metric, limits[metric.name])}"
        for metric in map(result.record.metric, limits)
    )
    return f"<p>{text} It counts what is better than {escape(said)}.</p>" if said else f"<p>{text}</p>"


def _stopped(result: RunResult) -> str:
    searched = [t for t in result.record.searched() if t.outcome]
    if not searched:
        return "<p>No trial has ended yet.</p>"
    spent = sum(max(0, min(t.step, result.epochs)) for t in searched)
    trained = [t for t in searched if t.step > 0]
    full = max(len(trained), 1) * result.epochs
    saved = 100 * (1 - spent / full)
    text = f"<p>{spent} of {full} epochs were trained: early stopping saved {saved:.0f} %"
    if len(trained) < len(searched):
        text += f"; {len(searched) - len(trained)} more candidates were measured and not trained"
    text += ".</p>"
    by_step: dict[int, list[TrialRecord]] = {}
    for trial in searched:
        if trial.outcome == "stopped":
            by_step.setdefault(trial.step, []).append(trial)
    if not by_step:
        return text + "<p>No trial was stopped.</p>"
    rows = []
    for step, trials in sorted(by_step.items()):
        infeasible = sum(violation_of(result.record, t) > 0 for t in trials)
        when = "before the first epoch, by what was known then" if step == 0 else f"after epoch {step}"
        rows.append(("", [when, str(len(trials)), str(infeasible)]))
    return text + table(["stopped", "trials", "of them infeasible there"], rows)


def _failed(result: RunResult) -> str:
    failed = result.failed
    if not failed:
        return "<p>None.</p>"
    rows = [
        ("", [escape(t.name), str(max(t.step, 0)), escape(t.reason or "no reason given"), _traceback(t)])
        for t in failed
    ]
    return table(["trial", "last step", "reason", "traceback"], rows)


def _traceback(trial: TrialRecord) -> str:
    file = escape(trial.traceback)
    return f'<a href="{file}">{file}</a>' if file else UNKNOWN
