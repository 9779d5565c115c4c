"""The benchmark of schedules, on few examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from trial_setup import small_task

from benchmarks import schedules as benchmark
from raysearch import search_spaces as spaces
from raysearch.trainables.task import Task

FEW = {
    "channels": ("8/8, steps 1", "8/8, steps 2"),
    "weights": (".5", "2:4"),
    "training": ("float32", "first size .5"),
}


def tiny(name: str, data: Path | None, seed: int) -> Task:
    return small_task()


@pytest.mark.slow
def test_every_table_is_printed_and_each_row_compared_with_its_reference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = benchmark.tables(tiny("digits", None, 0))
    few = {table: {row: every[table][row] for row in rows} for table, rows in FEW.items()}
    few["weights"][".5"] = benchmark.Row(few["weights"][".5"].config)
    monkeypatch.setattr(benchmark, "tables", lambda task: few)
    monkeypatch.setattr(benchmark, "task_of", tiny)
    monkeypatch.setattr(benchmark, "EPOCHS", 3)
    threads = torch.get_num_threads()
    try:
        benchmark.main(["--seeds", "2", "--json"])
    finally:
        torch.set_num_threads(threads)
    *printed, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert (found["benchmark"], found["peers"]) == ("schedules", {})
    assert [line.split(":")[0] for line in printed[::4]] == [f"schedules, digits/{table}" for table in FEW]
    figures = found["figures"]
    for table, (reference, other) in FEW.items():
        first, second = f"digits/{table}/{reference}", f"digits/{table}/{other}"
        assert 10 < figures[f"{first}/accuracy"] <= 100
        by_hand = figures[f"{second}/accuracy"] - figures[f"{first}/accuracy"]
        assert figures[f"{second}/difference"] == pytest.approx(by_hand, abs=1e-4)
        assert figures[f"{second}/time"] > 0
        assert f"{first}/p" not in figures
    assert figures["digits/weights/2:4/nonzero_rate"] == pytest.approx(0.5, abs=0.05)


def test_every_row_is_a_trial_of_its_own() -> None:
    task = tiny("digits", None, 0)
    space = spaces.bind(
        {"pruning": spaces.channel_pruning() | spaces.weight_sparsity(), "bits": spaces.bit_widths()},
        parent=task.parent,
    )
    for rows in benchmark.tables(task).values():
        variants = [space.variant(benchmark.config_of(task, row)) for row in rows.values()]
        assert len({variant.key for variant in variants}) == len(rows)
        assert all(row.reference in {"", *rows} for row in rows.values())


def test_validation_and_test_split_are_judged_together() -> None:
    task = small_task()
    together = benchmark.both(task)
    assert len(together) == 200
    torch.testing.assert_close(together[150][0], task.test[50][0])


def test_the_test_is_two_sided_and_of_nothing_finds_nothing() -> None:
    rises = np.array([1.0, 1.1, 0.9])
    assert benchmark.p_value(rises) < 0.01
    assert benchmark.p_value(-rises) == pytest.approx(benchmark.p_value(rises))
    assert benchmark.p_value(np.zeros(3)) == 1.0


def test_cifar_10_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark.task_of("cifar10", tmp_path / "nowhere", 0)
    assert stop.value.code == 2
    assert "nowhere does not exist" in capsys.readouterr().err
