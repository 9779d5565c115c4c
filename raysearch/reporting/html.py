"""report.html: one file that needs nothing else, with what a run found and where every figure comes from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from raysearch.metrics import METRICS, TARGET_METRICS
from raysearch.record.journal import TrialRecord
from raysearch.record.results import StudyResult
from raysearch.record.scores import violation_of
from raysearch.record.verdicts import compare
from raysearch.reporting import plots
from raysearch.reporting.figures import UNKNOWN, duration, label, metric_value, number, times
from raysearch.reporting.page import document, drawn, section, table, tile, tiles
from raysearch.sweeps.table import PAGE

FILE_NAME = "report.html"

_ENDINGS = {
    "finish": "The search ran to its end.",
    "timeout": "The search was ended by its time limit.",
    "interrupt": "The search was interrupted; raysearch resume goes on with it.",
    "error": "An error ended the search; raysearch resume goes on with it.",
    "running": "The search is running, or was killed; raysearch resume goes on with it.",
}


def write_report(folder: Path) -> Path:
    """Write (or refresh) the report of a run folder from its journal.

    Returns:
        The path of report.html.

    Raises:
        MissingFile: the folder holds no journal.
    """
    path = Path(folder) / FILE_NAME
    path.write_text(render(StudyResult(folder)), encoding="utf-8")
    return path


def render(result: StudyResult) -> str:
    """The report as one HTML document."""
    task = result.study["task"]
    name = str(task.get("name") or task.get("import"))
    body = "".join(
        (
            f"<header><h1>raysearch <span>{escape(name)}</span></h1>{_summary(result)}</header>",
            _tiles(result),
            section("The front", _front_text(result), drawn(plots.front_pairs(result))),
            section("Variants", _variants_text(result), _variants(result), _notes(result)),
            section("Stopped early", _stopped(result)),
            section("Hypervolume", _HYPERVOLUME, drawn([plots.hypervolume(result)])),
            section("Settings", _SETTINGS, drawn([plots.parallel_coordinates(result)])),
            section("Failed trials", _failed(result)),
            section("How the figures were made", _provenance(result), _definitions()),
            section("The study", f"<pre>{escape(result.study_file())}</pre>"),
        )
    )
    return document(name, body)


# -- the head --------------------------------------------------------------------------------------


def _summary(result: StudyResult) -> str:
    counts = result.counts()
    parts = [
        f"{counts['finished']} complete",
        f"{counts['stopped']} stopped early",
        f"{counts['failed']} failed",
    ]
    if counts["unfinished"]:
        parts.append(f"{counts['unfinished']} unfinished")
    goals = [*map(str, result.goals.objectives), *map(str, result.goals.constraints)]
    curves = f' <a href="{PAGE}">The curves of this sweep.</a>' if "sweep" in result.study else ""
    return (
        f"<p>{_ENDINGS[result.ending]} {sum(counts.values())} trials in {duration(result.seconds)}: "
        f'{", ".join(parts)}.{curves}</p><p class="goals">{escape(" · ".join(goals))}</p>'
    )


def _tiles(result: StudyResult) -> str:
    """The front in a few figures: its size, and the best in each objective beside the parent."""
    variants = [t for t in result.front_records if t.role == "trial"]
    shown = [tile(str(len(variants)), f"{'variant' if len(variants) == 1 else 'variants'} on the front", "")]
    parent = result.record.parent
    for objective in result.goals.objectives if variants else ():
        sign = -1 if objective.maximize else 1
        metric = objective.metric
        best = min(variants, key=lambda t, m=metric, s=sign: s * t.values[m])  # type: ignore[misc]
        reference = parent.values.get(metric, math.nan) if parent else math.nan
        word = "highest" if objective.maximize else "lowest"
        note = f"variant {best.name}, parent {metric_value(metric, reference)}"
        shown.append(tile(metric_value(metric, best.values[metric]), f"{word} {label(metric)}", note))
    shown += _within_a_point(result, variants)
    return tiles(shown)


def _within_a_point(result: StudyResult, variants: Sequence[TrialRecord]) -> list[str]:
    """How much faster and smaller than the parent one can be for a point of accuracy."""
    parent = result.record.parent
    if parent is None:
        return []
    metric = "test_accuracy" if "test_accuracy" in parent.values else "accuracy"
    floor = parent.values.get(metric, math.nan) - 0.01
    close = [t for t in variants if t.values.get(metric, -math.inf) >= floor]
    wanted = [(f"latency_ms/{result.study['targets'][0]}", "faster"), ("file_mb", "smaller (the file)")]
    shown = []
    for name, word in wanted:
        found = [(parent.values.get(name, math.nan) / t.values[name], t) for t in close if t.values.get(name)]
        if found:
            ratio, best = max(found, key=lambda pair: pair[0])
            where = "test split" if metric == "test_accuracy" else "validation split"
            note = f"variant {best.name}, within 1 point ({where})"
            shown.append(tile(times(ratio), f"{word} than the parent", note))
    return shown


def _front_text(result: StudyResult) -> str:
    if not result.front_records:
        return "<p>No complete trial keeps the constraints yet.</p>"
    return (
        "<p>Complete trials over each pair of objectives; the axes end near the front. The line joins what "
        "nothing beats in that pair; a variant off the line is on the front for its other figures.</p>"
    )


# -- the variants ----------------------------------------------------------------------------------


def _variants_text(result: StudyResult) -> str:
    tested = any("test_accuracy" in t.values for t in result.front_records)
    text = (
        "Latency was measured again after the search with no trial running; the test split was used once for "
        "each variant."
        if tested
        else "The front was not measured again yet: latency is from during the search."
    )
    return f"<p>{text} Faster means by more than the noise of both measurements, and at least 2 %.</p>"


def _variants(result: StudyResult) -> str:
    targets = result.study["targets"]
    head = ["variant", "validation", "test"]
    for target in targets:
        suffix = f" {escape(target)}" if len(targets) > 1 else ""
        head += [f"latency, ms{suffix}", f"than the parent{suffix}", f"than its static int8{suffix}"]
    head += ["size, MB", "file, MB", "weights", "activ.", "pruned", "teacher"]
    references = [t for t in result.record.trials.values() if t.role == "reference"]
    on_front = {t.name for t in result.front_records}
    rows = [("reference", _cells(result, t, targets, t.name in on_front)) for t in references]
    rows += [("", _cells(result, t, targets, True)) for t in result.front_records if t.role == "trial"]
    return table(head, rows)


def _cells(result: StudyResult, trial: TrialRecord, targets: Iterable[str], on_front: bool) -> list[str]:
    values, parent = trial.values, result.record.parent
    name = escape(trial.name)
    if trial.role == "reference" and on_front:
        name += " <i>on the front</i>"
    cells = [name, *(metric_value(m, values.get(m, math.nan)) for m in ("accuracy", "test_accuracy"))]
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


def _notes(result: StudyResult) -> str:
    """Remarks of the front's variants: among them, bits that a runtime runs no faster."""
    by_note: dict[str, list[str]] = {}
    for trial in result.front_records:
        for note in trial.notes:
            by_note.setdefault(note, []).append(trial.name)
    items = [
        f"<li>{escape(note)} <i>({escape(', '.join(names))})</i></li>" for note, names in by_note.items()
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


# -- the search ------------------------------------------------------------------------------------

_HYPERVOLUME = (
    "<p>The volume of trade-offs that the front covers, costs in units of the parent, up to ten per cent "
    "worse than the parent in each objective. Pauses between sessions are left out of the time.</p>"
)
_SETTINGS = (
    "<p>Each line is a complete, feasible trial; drag along an axis to select. Shown are the settings that "
    "go most with the objectives; the darker a line, the greater its figure in the first objective.</p>"
)


def _stopped(result: StudyResult) -> str:
    searched = [t for t in result.record.searched() if t.outcome]
    if not searched:
        return "<p>No trial has ended yet.</p>"
    spent = sum(max(0, min(t.step, result.epochs)) for t in searched)
    full = len(searched) * result.epochs
    saved = 100 * (1 - spent / full)
    text = f"<p>{spent} of {full} epochs were trained: early stopping saved {saved:.0f} %.</p>"
    by_step: dict[int, list[TrialRecord]] = {}
    for trial in searched:
        if trial.outcome == "stopped":
            by_step.setdefault(trial.step, []).append(trial)
    if not by_step:
        return text + "<p>No trial was stopped.</p>"
    rows = []
    for step, trials in sorted(by_step.items()):
        infeasible = sum(violation_of(result.record, t) > 0 for t in trials)
        when = "before the first epoch, by measured hardware figures" if step == 0 else f"after epoch {step}"
        rows.append(("", [when, str(len(trials)), str(infeasible)]))
    return text + table(["stopped", "trials", "of them infeasible there"], rows)


def _failed(result: StudyResult) -> str:
    failed = [t for t in result.record.trials.values() if t.outcome == "failed"]
    if not failed:
        return "<p>None.</p>"
    rows = [
        ("", [escape(t.name), str(max(t.step, 0)), escape(t.reason or "no reason given")]) for t in failed
    ]
    return table(["trial", "last step", "reason"], rows)


# -- where the figures come from -------------------------------------------------------------------


def _provenance(result: StudyResult) -> str:
    """One row per target: runtime, version, device, threads, noise."""
    rows = []
    for target in result.study["targets"]:
        found = [
            m for t in result.record.trials.values() for m in t.measurements if m.get("target") == target
        ]
        if not found:
            rows.append(("", [escape(target), "not measured yet", *[UNKNOWN] * 7]))
            continue
        # A cluster may hold several devices of a kind; all that were used are named.
        said = [_distinct(found, field) for field in ("version", "device", "threads", "batch")]
        noise = statistics.median(float(m.get("noise", math.nan)) for m in found)
        fresh = sum(not m.get("cached") for m in found)
        contended = sum(bool(m.get("contended")) for m in found)
        sources = _distinct(found, "source")
        cells = [f"± {100 * noise:.1f} %", f"{fresh} {sources}", str(len(found) - fresh), str(contended)]
        rows.append(("", [escape(target), *said, *cells]))
    head = [
        "target",
        "runtime",
        "device",
        "threads",
        "batch",
        "noise (median)",
        "latencies",
        "from the cache",
    ]
    head.append("beside other load")
    return table(head, rows)


def _distinct(measurements: Iterable[Mapping[str, Any]], field: str) -> str:
    def text(m: Mapping[str, Any]) -> str:
        shown = m.get(field, UNKNOWN)
        return f"{m.get('runtime', '')} {shown}".strip() if field == "version" else str(shown)

    return escape(", ".join(sorted({text(m) for m in measurements})))


def _definitions() -> str:
    known = {**METRICS, **{f"{m}/TARGET": what for m, what in TARGET_METRICS.items()}}
    items = "".join(f"<dt>{name}</dt><dd>{escape(what)}</dd>" for name, what in known.items())
    text = (
        "Latency is the median paired ratio to the parent, measured in alternating blocks of one thread's "
        "CPU time, times the parent's quiet latency; the noise is half the 95 % interval of that ratio."
    )
    return f"<p>{text}</p><dl>{items}</dl>"
