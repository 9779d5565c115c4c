"""What lies beside a variant's files: metrics.json, and a short card to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.journal import RunRecord, TrialRecord
from raysearch.verdicts import compare

_SOURCES = {"latency_ms": "measured", "accuracy": "measured", "test_accuracy": "measured"}


def write_cards(record: RunRecord, folder: Path) -> None:
    """Write metrics.json and README.md into the folder of every variant that the run has left.

    Args:
        record: the run.
        folder: of the run; variants stand in ``folder/variants/<trial>``.
    """
    for trial in record.trials.values():
        variant = folder / "variants" / trial.name
        if variant.is_dir():
            metrics = json.dumps(_metrics(trial), indent=1) + "\n"
            (variant / "metrics.json").write_text(metrics, encoding="utf-8")
            (variant / "README.md").write_text(_card(record, trial), encoding="utf-8")


def _metrics(trial: TrialRecord) -> dict[str, Any]:
    """Every figure with its source, and the measurements behind the measured ones."""
    figures = {
        name: {"value": value, "source": _SOURCES.get(name.split("/")[0], "static")}
        for name, value in sorted(trial.values.items())
    }
    latest = {m["target"]: m for m in trial.measurements}
    return {
        "trial": trial.name,
        "figures": figures,
        "measurements": list(latest.values()),
        "notes": trial.notes,
    }


def _card(record: RunRecord, trial: TrialRecord) -> str:
    lines = [f"# {trial.name}", "", *_opening(record, trial), "", "| figure | value |", "|---|---|"]
    lines += [f"| {name} | {value:.6g} |" for name, value in sorted(trial.values.items())]
    lines += ["", "Latencies are for a batch of one:"]
    for measured in {m["target"]: m for m in trial.measurements}.values():
        lines.append(_measured(measured))
    lines += [f"- {note}" for note in trial.notes]
    lines += [
        "",
        "```python",
        "import raysearch as rs",
        f'module = rs.load_variant("variants/{trial.name}")',
        "```",
        "",
    ]
    return "\n".join(lines)


def _opening(record: RunRecord, trial: TrialRecord) -> list[str]:
    parent = record.parent
    if parent is None or trial is parent:
        return ["The unchanged network, which all others are compared with."]
    lines = []
    for target in record.header["study"]["targets"]:
        times, verdict = compare(trial, parent, target)
        if verdict:
            lines.append(f"On {target}: {times:.2f} x the parent's speed ({verdict}).")
    return lines


def _measured(measured: Mapping[str, Any]) -> str:
    contended = ", beside another load" if measured["contended"] else ""
    return (
        f"- {measured['target']}: {measured['runtime']} {measured['version']}, {measured['device']}, "
        f"{measured['threads']} thread(s), noise {measured['noise']:.1%} of {measured['samples']} samples"
        f"{contended}"
    )
