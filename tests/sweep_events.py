"""The journal of a sweep, made up: what several test files read."""

from __future__ import annotations

import math

from fake_run import ACCURACY, Quality, study_of

TARGET = "onnxruntime-cpu"
RATIOS = (0.0, 0.25, 0.5, 0.75)
LEFT_OUT = {
    "event": "left_out", "trial": "parent", "time": 50.0,
    "accuracy": 0.9, "without": {"left": 0.6, "right": 0.8},
}  # fmt: skip


def events(
    parts: tuple[str, ...] = ("left", "right"),
    ratios: tuple[float, ...] = RATIOS,
    quality: Quality = ACCURACY,
) -> list[dict]:
    """The journal of a sweep whose left branch holds 6 of 10 MB, of which pruning takes its ratio.

    The branches make up for each other, and share weights: together they lose more accuracy and less size.
    """
    own, slow = {"left": 6.0, "right": 3.0}, {"left": 2.0, "right": 2.0}
    choices = {"choice": sorted({0.0, *ratios})}
    described = {
        "task": {"name": "digits"},
        "space": {"pruning": {"ratios": dict.fromkeys(parts, choices)}},
        "objectives": [study_of(quality)["objectives"][0], "minimize size_mb"],
        "constraints": [],
        "targets": [TARGET],
        "search": {"epochs": 1},
        "sweep": {"parts": list(parts), "ratios": list(ratios), "multiple": None},
    }
    metrics = {quality.name: quality.unit}
    found: list[dict] = [{"event": "run", "version": 1, "study": described, "metrics": metrics}]

    def trial(name: str, role: str, ratios: dict[str, float]) -> None:
        shared = math.prod(ratios.values()) if len(ratios) > 1 else 0.0
        values = {
            quality.name: quality(0.9 - 0.3 * sum(r**2 for r in ratios.values()) - 0.4 * shared),
            "size_mb": 10.0 - sum(own[n] * r for n, r in ratios.items()) + 2 * shared,
            f"latency_ms/{TARGET}": 5.0 - sum(slow[n] * r for n, r in ratios.items()) + shared,
        }
        config = {"pruning": {"ratios": ratios}} if ratios else {}
        head = {"trial": name, "role": role, "config": config, "key": name, "origin": "given"}
        found.append({"event": "suggestion", **head})
        found.append({"event": "report", "trial": name, "step": 2, "values": values, "decision": "continue"})
        found.append({"event": "end", "trial": name, "outcome": "finished"})

    trial("parent", "reference", {})
    trial("0000", "trial", {})
    for number, (part, ratio) in enumerate((p, r) for p in parts for r in ratios if r):
        trial(f"{number + 1:04d}", "trial", {part: ratio})
    for number, ratio in enumerate(r for r in ratios if r):
        trial(f"{number + 11:04d}", "trial", dict.fromkeys(parts, ratio))
    found.append({"event": "suggestion", "trial": "0099", "role": "trial", "config": {}, "key": "x",
                  "origin": "given"})  # fmt: skip
    return [{**event, "time": float(i)} for i, event in enumerate(found)]
