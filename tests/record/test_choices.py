"""Whether an early exit is worth it, beside the plain variant of equal mean latency."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fake_run import ACCURACY, RMSE, TARGET, study_of

from raysearch.objectives import Goals
from raysearch.record.choices import leaves_early, plain_beside
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.reporting.exits import exit_sentences, verdict

LAST = 3
MEAN, LATENCY = f"mean_latency_ms/{TARGET}", f"latency_ms/{TARGET}"


def trial(name: str, quality: float, latency: float, mean: float = 0.0, **more: Any) -> TrialRecord:
    """A complete trial; one with a mean latency may be left early."""
    metric = more.pop("metric", "accuracy")
    known = TrialRecord(name, more.pop("role", "trial"), {}, name, "test", 0.0, outcome="finished")
    measured = {"target": TARGET, "latency_ms": latency, "noise": 0.01}
    known.measurements = [{**measured, "early_ms": mean / 2, "early_noise": 0.01} if mean else measured]
    known.reports = {
        0: {LATENCY: latency, MEAN: mean or latency},
        LAST: {metric: quality, MEAN: mean or latency, "exit_share": 0.4 if mean else 0.0},
    }
    if "test" in more:
        spread = np.linspace(-0.01, 0.01, 10)
        known.final = {f"test_{metric}": more["test"]}
        known.parts = {metric: (more["test"] + more.get("noise", 1.0) * spread).tolist()}
    return known


def record_of(*trials: TrialRecord, quality: Any = ACCURACY) -> tuple[RunRecord, Goals]:
    record = RunRecord()
    record.header = {
        "study": study_of(quality, search={"epochs": LAST - 1}),
        "metrics": {quality.name: quality.unit},
    }
    record.trials = {t.name: t for t in trials}
    wanted = "minimize" if quality is RMSE else "maximize"
    return record, Goals.parse([f"{wanted} {quality.name}", f"minimize {MEAN}"], last_step=LAST)


def test_the_best_plain_variant_that_is_as_fast_stands_beside() -> None:
    exits = trial("e", 0.90, 1.0, mean=0.6)
    slower, equal, faster = trial("s", 0.95, 0.7), trial("q", 0.89, 0.608), trial("f", 0.88, 0.3)
    other = trial("o", 0.99, 1.0, mean=0.5)  # it may be left too
    running = trial("r", 0.99, 0.5)
    running.outcome = None
    record, goals = record_of(exits, slower, equal, faster, other, running)
    beside = plain_beside(record, goals, exits, TARGET)
    assert beside is not None
    assert beside.plain is equal  # within the noise as fast
    assert beside.gain == pytest.approx(0.01)
    assert not beside.worth_it
    assert "ahead on the validation split" in verdict(record, exits, beside, TARGET)
    assert leaves_early(exits)
    assert not leaves_early(equal)


@pytest.mark.parametrize(
    ("own", "worth_it", "words"),
    [
        (0.93, True, "The early exit is worth it."),
        (0.9001, False, "is not worth it, for the difference is within its noise."),
        (0.87, False, "The early exit is not worth it."),
    ],
)
def test_the_verdict_is_the_test_splits(own: float, worth_it: bool, words: str) -> None:
    exits = trial("e", 0.5, 1.0, mean=0.6, test=own, noise=-1.0)  # other examples are hard for it
    plain = trial("q", 0.9, 0.55, test=0.90)
    record, goals = record_of(exits, plain)
    beside = plain_beside(record, goals, exits, TARGET)
    assert beside is not None
    assert (beside.metric, beside.worth_it) == ("test_accuracy", worth_it)
    said = verdict(record, exits, beside, TARGET)
    assert words in said
    assert "q (0.55 ms): test accuracy 90.00 %, this one's" in said


def test_where_no_plain_variant_is_as_fast_the_exit_is_worth_it() -> None:
    exits = trial("e", 0.5, 1.0, mean=0.6)
    record, goals = record_of(exits, trial("s", 0.9, 0.9))
    beside = plain_beside(record, goals, exits, TARGET)
    assert beside is not None
    assert beside.plain is None
    assert beside.worth_it
    assert "No plain variant" in verdict(record, exits, beside, TARGET)


def test_an_error_is_better_where_it_is_lower() -> None:
    exits = trial("e", 90.0, 1.0, mean=0.6, metric="rmse")
    record, goals = record_of(
        exits, trial("a", 100.0, 0.5, metric="rmse"), trial("b", 95.0, 0.5, metric="rmse"), quality=RMSE
    )
    beside = plain_beside(record, goals, exits, TARGET)
    assert beside is not None
    assert beside.plain is record.trials["b"]
    assert beside.gain == pytest.approx(5.0)


def test_the_card_says_what_an_exit_comes_to_over_data() -> None:
    exits = trial("e", 0.9, 1.0, mean=0.6)
    forms = {
        f: {"mean_ms": m, "p50_ms": m, "p99_ms": 1.1} for f, m in (("one_file", 0.61), ("two_files", 0.62))
    }
    exits.measurements[-1]["over_data"] = {"inputs": 512, **forms}
    record, _ = record_of(exits, trial("q", 0.95, 0.5), trial("parent", 0.9, 2.0, role="reference"))
    first, second = exit_sentences(record, exits)
    assert "40.00 % of the inputs leave early, after 0.3 ms; the others take 1 ms" in first
    assert (
        "Over 512 inputs of the test split, mean and p99: as one file 0.61, 1.1, as two files 0.62, 1.1 ms"
        in first
    )
    assert "The early exit is not worth it." in second
    assert exit_sentences(record, record.trials["q"]) == []
    assert not math.isnan(exits.values[MEAN])
