"""Records of trials with whatever figures a test wants, all of them complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raysearch.record.run_record import RunRecord

EPOCHS = 3


def record_of_figures(
    objectives: Sequence[str],
    parent: Mapping[str, float],
    trials: Sequence[Mapping[str, float]],
    *,
    metrics: Mapping[str, str] | None = None,
    constraints: Sequence[str] = (),
    asked: int | None = None,
) -> RunRecord:
    """A finished run whose trials ended one after another."""
    study = {
        "objectives": list(objectives),
        "constraints": list(constraints),
        "targets": ["cpu"],
        "search": {"epochs": EPOCHS},
    }
    record = RunRecord()
    header = {"event": "run", "time": 0.0, "version": 1, "study": study}
    record.apply(header if metrics is None else {**header, "metrics": dict(metrics)})
    figures = [("parent", parent), *((f"{i:04d}", values) for i, values in enumerate(trials))]
    for time, (name, values) in enumerate(figures, start=1):
        role = "reference" if name == "parent" else "trial"
        head = {"trial": name, "time": float(time)}
        asking = {"role": role, "config": {}, "key": name, "origin": "nsga2"}
        record.apply({"event": "suggestion", **head, **asking})
        record.apply({"event": "report", **head, "step": EPOCHS + 1, "values": dict(values)})
        record.apply({"event": "end", **head, "outcome": "finished"})
    asked = len(trials) if asked is None else asked
    record.apply({"event": "session", "time": 1e3, "action": "finish", "num_trials": asked})
    return record
