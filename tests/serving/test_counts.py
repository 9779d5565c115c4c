"""Counts, their sums and their text."""

from __future__ import annotations

import json
import math

import pytest

from raysearch.serving.counts import Counts, prometheus, total


def seen(times: list[float], slo_ms: float = 20.0) -> Counts:
    counts = Counts()
    for n, ms in enumerate(times):
        counts.answered(f"v{n % 2}", ms, ms <= slo_ms, 0.9)
    return counts


def test_shares_and_quantiles() -> None:
    counts = seen([float(n) for n in range(1, 101)])
    assert (counts.in_time, counts.late, counts.requests, counts.attained) == (20, 80, 100, 0.2)
    assert counts.quantile(0.5) == pytest.approx(50, rel=0.11)
    assert counts.quantile(0.99) == pytest.approx(99, rel=0.11)
    assert counts.plain()["mean_quality"] == pytest.approx(0.9)


def test_counts_add_up() -> None:
    both = total([seen([1.0, 30.0]), seen([2.0])])
    assert (both.in_time, both.late, both.replicas, dict(both.used)) == (2, 1, 2, {"v0": 2, "v1": 1})
    assert sum(both.taken.values()) == 3


def test_nothing_yet_is_plain_too() -> None:
    assert math.isnan(Counts().attained)
    plain = Counts().plain()
    assert json.loads(json.dumps(plain, allow_nan=False))["p99_ms"] is None


def test_the_text_for_prometheus() -> None:
    counts = seen([1.0, 30.0])
    counts.used['a "quoted"\nname'] = 1
    lines = prometheus(counts).splitlines()
    assert 'raysearch_requests_total{outcome="in_time"} 1' in lines
    assert "raysearch_attained 0.5" in lines
    assert r'raysearch_variant_requests_total{variant="a \"quoted\"\nname"} 1' in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    samples = [line for line in lines if not line.startswith("#")]
    for line in samples:
        float(line.rpartition(" ")[2])
        assert line.startswith(tuple(names))
