"""The recorded trials, and what an engineer tries by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.by_hand import METHODS, Method, fastest, simulated, training_cost
from benchmarks.recorded.by_hand import recipe
from benchmarks.recorded.problem import Recorded
from benchmarks.recorded.record import added
from benchmarks.recorded.studies import EPOCHS, TARGET
from benchmarks.small_studies import recorded as curves_of


@pytest.fixture(scope="module", params=sorted(EPOCHS))
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


def test_networks_are_counted_as_trials_report_them(recorded: Recorded) -> None:
    assert len(recorded.trials) >= 80
    for row in recorded.trials.itertuples():
        network = recorded.network(json.loads(row.config))
        assert network.size_mb == pytest.approx(row.size_mb)
        assert network.macs == row.macs


def test_a_recorded_config_reports_what_it_did(recorded: Recorded) -> None:
    row = recorded.trials.dropna(subset=f"latency_ms/{TARGET}").iloc[7]
    config = json.loads(row["config"])
    found = [recorded.values(config, step) for step in range(recorded.epochs + 2)]
    assert [values["accuracy"] for values in found] == pytest.approx(
        [row[f"accuracy@{step}"] for step in range(recorded.epochs + 2)], abs=2e-3
    )
    assert found[0][f"latency_ms/{TARGET}"] == pytest.approx(row[f"latency_ms/{TARGET}"])
    assert found[0]["size_mb"] == pytest.approx(row["size_mb"])


def test_trials_of_another_machine_lend_their_accuracy_alone(recorded: Recorded) -> None:
    last = recorded.epochs + 1
    table = recorded.trials.assign(config=lambda t: t["config"].str.replace('"lr": ', '"lr": 1'))
    whole = added(recorded.trials, table, last)
    known = recorded.trials[f"latency_ms/{TARGET}"].notna().sum()
    assert whole[f"latency_ms/{TARGET}"].notna().sum() == known
    merged = Recorded(recorded.name, whole)
    assert len(merged.trials) == 2 * len(recorded.trials)
    assert np.isfinite(merged.latencies).all()
    row = merged.trials.iloc[-1]
    assert merged.values(json.loads(row["config"]), last)["accuracy"] == pytest.approx(
        row[f"accuracy@{last - 1}"], abs=2e-3
    )
    measured, predicted = merged.latencies[: len(table)], merged.latencies[len(table) :]
    assert np.median(np.abs(predicted / measured - 1)) < 0.1


def test_any_other_config_reports_something_like_it_always_the_same(recorded: Recorded) -> None:
    searcher = recorded.searcher("random", recorded.goals, 5, [])
    configs = [searcher.ask(str(i)) for i in range(30)]
    last = [recorded.values(c, recorded.epochs + 1)["accuracy"] for c in configs if c is not None]
    again = Recorded(recorded.name)
    assert last == [again.values(c, recorded.epochs + 1)["accuracy"] for c in configs if c is not None]
    assert len(set(last)) > 10
    assert 0.1 < np.median(last) <= 1
    assert all(recorded.cost(c, 1) > 0 for c in configs if c is not None)
    shares = recorded.unforeseen()
    assert shares[f"accuracy@{recorded.epochs + 1}"] > 0.3


def test_the_recipe_goes_from_coarse_to_fine_and_tries_no_variant_twice(recorded: Recorded) -> None:
    configs = list(recipe(recorded.space, recorded.parent))
    variants = [recorded.space.variant(config) for config in configs]
    assert len({variant.key for variant in variants}) == len(configs) > 20
    first = variants[0].config
    assert {(b["weights"], b["activations"]) for b in first["bits"].values()} == {(8, 8)}
    assert "ratios" not in first.get("pruning", {}) or not any(first["pruning"]["ratios"].values())
    sizes = [recorded.network(variant.config).size_mb for variant in variants[:4]]
    assert sizes[3] < sizes[1] < sizes[2] < sizes[0]  # none, a half, a quarter, three quarters
    assert all(variant.config["architecture"] == first["architecture"] for variant in variants)


@pytest.mark.parametrize("method", [METHODS["by hand"], Method("random", "front_halving", 3)])
def test_a_budget_buys_what_it_costs(recorded: Recorded, method: Method) -> None:
    few, more = (simulated(recorded, method, 0, budget) for budget in (5, 10))
    assert 3 <= len(few) <= len(more)
    assert 0 < recorded.hypervolume(few) <= recorded.hypervolume(more) < 0.13
    assert fastest(more, 0.0) == more[:, 1].min() <= fastest(few, 0.0)
    assert fastest(few, 2.0) == np.inf
    assert training_cost(recorded) > 0


def test_curves_for_small_studies(recorded: Recorded) -> None:
    table = curves_of(recorded.name)
    assert table.errors.shape == (len(recorded.trials), recorded.epochs)
    rows = np.arange(12)
    assert table.cut(rows, 3).errors.shape == (12, 3)
    assert set(table.static) == {f"latency_ms/{TARGET}", "size_mb"}
