"""What a server has done so far: counts that add up over replicas, and their text for Prometheus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_STEP = 1.1  # between the edges of the histogram: quantiles are known to a tenth
_FIRST_MS = 0.05


@dataclass
class Counts:
    """Counts since the start; those of several replicas are added.

    Attributes:
        in_time, late: requests that were answered.
        refused: because not even the fastest variant would have been in time.
        given_up: let in, and not served since the time had passed or the sender had gone.
        failed: because the network could not run them.
        bad: were no input of the network.
        labelled, right: answers whose label was sent, and those that agreed with it.
        switches: of a worker from one variant to another.
        used: answers by variant.
        quality: the sum of the variants' qualities over what was answered in time.
        taken: answers by the number of the histogram's bucket.
        waiting: requests in the queue just now.
        replicas: that were added up.
    """

    in_time: int = 0
    late: int = 0
    refused: int = 0
    given_up: int = 0
    failed: int = 0
    bad: int = 0
    labelled: int = 0
    right: int = 0
    switches: int = 0
    quality: float = 0.0
    waiting: int = 0
    replicas: int = 1
    used: Counter[str] = field(default_factory=Counter)
    taken: Counter[int] = field(default_factory=Counter)

    def answered(self, variant: str, ms: float, in_time: bool, quality: float) -> None:
        """Count an answer."""
        self.used[variant] += 1
        self.taken[max(0, math.ceil(math.log(max(ms, 1e-9) / _FIRST_MS, _STEP)))] += 1
        if in_time:
            self.in_time += 1
            self.quality += quality
        else:
            self.late += 1

    @property
    def requests(self) -> int:
        """All that were inputs of the network."""
        return self.in_time + self.late + self.refused + self.given_up + self.failed

    @property
    def attained(self) -> float:
        """The share of requests that were answered in time; NaN before the first."""
        return self.in_time / self.requests if self.requests else math.nan

    def quantile(self, share: float) -> float:
        """The time in ms within which a share of the answers came; NaN before the first."""
        total, seen = sum(self.taken.values()), 0
        for bucket in sorted(self.taken):
            seen += self.taken[bucket]
            if seen >= share * total:
                return float(_FIRST_MS * _STEP**bucket)
        return math.nan

    def plain(self) -> dict[str, Any]:
        """As plain data, and with what follows from the counts; unknown figures are None."""
        ends = {"p50_ms": self.quantile(0.5), "p99_ms": self.quantile(0.99), "attained": self.attained}
        shares = {
            "accuracy": self.right / self.labelled if self.labelled else math.nan,
            "mean_quality": self.quality / self.in_time if self.in_time else math.nan,
        }
        known = {name: value if math.isfinite(value) else None for name, value in (ends | shares).items()}
        own = {name: value for name, value in vars(self).items() if name != "taken"}
        return own | {"used": dict(self.used), "requests": self.requests} | known


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of several replicas' counts."""
    result = Counts(replicas=0)
    for one in counts:
        for name, value in vars(one).items():
            setattr(result, name, getattr(result, name) + value)
    return result


def prometheus(counts: Counts) -> str:
    """The counts in Prometheus' text format."""
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> None:
        lines.extend([f"# HELP raysearch_{name} {text}", f"# TYPE raysearch_{name} {kind}"])
        lines.extend(f"raysearch_{name}{labels} {value:.10g}" for labels, value in samples)

    outcomes = ("in_time", "late", "refused", "given_up", "failed")
    metric("requests_total", "counter", "Requests by outcome.",
           [(f'{{outcome="{name}"}}', getattr(counts, name)) for name in outcomes])  # fmt: skip
    metric("bad_requests_total", "counter", "Requests that were no input of the network.", [("", counts.bad)])
    metric("attained", "gauge", "Share of requests answered in time.", [("", counts.attained)])
    used = [(f'{{variant="{_escaped(name)}"}}', number) for name, number in sorted(counts.used.items())]
    metric("variant_requests_total", "counter", "Answers by variant.", used)
    metric("switches_total", "counter", "Switches of a worker between variants.", [("", counts.switches)])
    metric("labelled_total", "counter", "Answers whose label was sent.", [("", counts.labelled)])
    metric("right_total", "counter", "Answers that agreed with their label.", [("", counts.right)])
    metric("latency_ms", "summary", "From a request's arrival to its answer, in ms.",
           [(f'{{quantile="{q}"}}', counts.quantile(q)) for q in (0.5, 0.99)]
           + [("_count", sum(counts.taken.values()))])  # fmt: skip
    metric("waiting", "gauge", "Requests in the queue.", [("", counts.waiting)])
    metric("replicas", "gauge", "Replicas that these counts are of.", [("", counts.replicas)])
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
