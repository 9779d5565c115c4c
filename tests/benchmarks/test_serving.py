"""The serving benchmark on small traces: its figures are there, and mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import serving
from raysearch.serving.simulation.traces import on_off

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_a_trace_of_one_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "bursts.csv"
    seconds = "\n".join(f"{t / 1e3:.6f}" for t in on_off(20, 120, seed=3))
    trace.write_text(f"at\n{seconds}\n")
    serving.main(["--trace", str(trace), "--json"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    for case in ("bursts/20/x3", "bursts/50/x10"):
        assert figures[f"plan@{case}"] == pytest.approx(figures[f"oracle@{case}"], abs=0.003)
        assert figures[f"attained@{case}"] >= 0.995
        assert all(figures[f"plan@{case}"] >= figures[f"static{n}@{case}"] for n in range(6))
    for rate in serving.BATCHED_RATES:
        assert figures[f"plan_batches@{rate}"] > figures[f"slackfit_batches@{rate}"]
        assert figures[f"batches_attained@{rate}"] >= 0.99
    assert 0 < figures["decision_us"] < 1000


def test_what_the_most_accurate_variant_can_bear() -> None:
    bench = serving.Bench(serving.front_table(None), np.arange(0, 60_000, 100.0))
    speed = bench.bearable(20.0)  # even gaps: until they are shorter than an inference, queues do not grow
    assert 100 / speed == pytest.approx(max(bench.times), rel=0.15)


@pytest.mark.skipif(not (DATA / "traces").is_dir(), reason="../shared/data has no traces")
def test_the_public_traces_are_read() -> None:
    from raysearch.serving.simulation.traces import read_trace

    sizes = {name: len(read_trace(DATA / file)) for name, file in serving.TRACES.items()}
    assert sizes == {"code": 8819, "conv": 19366}


def test_a_missing_trace_is_a_sentence(tmp_path: Path) -> None:
    from raysearch.basics.failures import UserError

    with pytest.raises(UserError, match="does not exist"):
        serving.main(["--trace", str(tmp_path / "none.csv")])
