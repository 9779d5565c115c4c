"""What lies beside a variant's files: metrics.json, and a short card to read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from typing import Any

from raysearch import storage
from raysearch.basics.figures import is_prediction
from raysearch.metrics import Metric
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.record.verdicts import compare
from raysearch.reporting.exits import exit_sentences
from raysearch.reporting.figures import UNKNOWN
from raysearch.storage import Place

_REFERENCES = {
    "parent": "The parent: the network that the search began with, which all others are compared with.",
    "parent-int8": "The parent in eight bits by the runtime's own static quantisation, not trained further: "
    "every variant's cheapest rival.",
    "parent-longer": "The parent, trained on for a trial's epochs: what longer training brings, without "
    "compression.",
    "larger": "The larger network: trained to teach the others, not to be deployed.",
}


def write_cards(record: RunRecord, folder: Place) -> None:
    """Write metrics.json and README.md into the folder of every variant that the run has left.

    Args:
        record: the run.
        folder: of the run; variants stand in ``folder/variants/<trial>``.
    """
    left = set(storage.names(folder / "variants"))
    for trial in record.trials.values():
        if trial.name in left:
            variant = folder / "variants" / trial.name
            storage.write(variant / "metrics.json", json.dumps(_metrics(record, trial), indent=1) + "\n")
            storage.write(variant / "README.md", _card(record, trial, variant))


def _metrics(record: RunRecord, trial: TrialRecord) -> dict[str, Any]:
    """Every figure with its source, and the measurements behind the measured ones."""
    figures = {
        name: {"value": value, "source": _source(trial, record.metric(name))}
        for name, value in sorted(trial.values.items())
    }
    return {
        "trial": trial.name,
        "figures": figures,
        "measurements": list(_latest(trial).values()),
        "notes": trial.notes,
    }


def _latest(trial: TrialRecord) -> dict[str, dict[str, Any]]:
    """The last measurement on each target."""
    return {m["target"]: m for m in trial.measurements}


def _source(trial: TrialRecord, metric: Metric) -> str:
    """Where a figure comes from; what was measured, or computed in a runtime, names it and its version.

    A figure without a target is the worst over the targets: all their runtimes are named.
    """
    name, _, target = metric.name.partition("/")
    estimate = _latest(trial).get(target, {})
    if name in estimate.get("figures", ()):
        return f"{_said(estimate, 'source')} by {_said(estimate, 'runtime')} {_said(estimate, 'version')}"
    if metric.source not in ("measured", "the task"):
        return metric.source
    if estimate and is_prediction(estimate) and metric.source == "measured":
        return f"predicted from {estimate['models']} models in {estimate['runtime']} {estimate['version']}"
    runtimes = [
        f"{_said(m, 'runtime')} {_said(m, 'version')}"
        for t, m in _latest(trial).items()
        if "figures" not in m and (target == t or (not target and f"{name}/{t}" in trial.values))
    ]
    return f"measured in {', '.join(dict.fromkeys(runtimes))}" if runtimes else "measured"


def _card(record: RunRecord, trial: TrialRecord, folder: Place) -> str:
    lines = [f"# {trial.name}", "", *_opening(record, trial), ""]
    lines += ["| figure | value | source |", "|---|---|---|"]
    lines += [
        f"| {_plain(name)} | {v:.6g} | {_plain(_source(trial, record.metric(name)))} |"
        for name, v in sorted(trial.values.items())
    ]
    lines += ["", "Where the figures of the targets come from:"]
    lines += [f"- {_plain(_measured(measured))}" for measured in _latest(trial).values()]
    lines += [f"- {_plain(note)}" for note in trial.notes]
    return "\n".join([*lines, *_snippet(trial, folder), ""])


def _snippet(trial: TrialRecord, folder: Place) -> list[str]:
    """How to rebuild the variant in PyTorch; nothing where all there is is the runtime's own file."""
    try:
        said = json.loads(storage.read(folder / "spec.json"))
    except FileNotFoundError:
        return []
    except ValueError:
        said = None
    if not isinstance(said, dict):  # damaged: there is nothing to rebuild
        return []
    own = said.get("own_model", said.get("architecture") is None)
    model = ", model=model" if own else ""
    call = f'module = rs.load_variant("{trial.name}"{model})  # the path of this folder'
    remark = ["# model: the network that was compressed, or the function that builds it"] if own else []
    return ["", "```python", "import raysearch as rs", "", *remark, call, "```"]


def _opening(record: RunRecord, trial: TrialRecord) -> list[str]:
    parent = record.parent
    lines = [_REFERENCES[trial.name]] if trial.name in _REFERENCES else []
    if parent is None or trial is parent:
        return lines
    for target in record.targets:
        times, verdict = compare(trial, parent, target)
        if verdict:
            lines.append(f"On {target}: {times:.2f} x the parent's speed ({verdict}).")
    return [*lines, *(_plain(said) for said in exit_sentences(record, trial))]


def _measured(measured: Mapping[str, Any]) -> str:
    package, version, device, batch, source, threads, samples = (
        _said(measured, name)
        for name in ("runtime", "version", "device", "batch", "source", "threads", "samples")
    )
    runtime = f"{package} {version}, {device}, batch {batch}"
    if "figures" in measured:
        return f"{measured['target']}: {source} by {runtime}"
    if is_prediction(measured):
        low, high = measured["interval"]
        return (
            f"{measured['target']}: predicted from {measured['models']} models measured in {runtime}, "
            f"{low:.4g} to {high:.4g} ms with a probability of 90 %"
        )
    contended = ", beside another load" if measured.get("contended") else ""
    cold = "" if measured.get("warm", True) else ", still getting faster"
    return (
        f"{measured['target']}: measured in {runtime}, {threads} thread(s), noise "
        f"{measured.get('noise', math.nan):.1%} of {samples} samples{contended}{cold}"
    )


def _plain(text: str) -> str:
    """A text that is nothing but text in Markdown, where HTML would be HTML, and in a cell of a table."""
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _said(measured: Mapping[str, Any], field: str) -> Any:
    return measured.get(field, UNKNOWN)
