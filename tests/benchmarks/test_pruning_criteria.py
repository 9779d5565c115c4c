"""The benchmark of pruning criteria, on few examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from trial_setup import small_task

from benchmarks import pruning_criteria as benchmark
from raysearch.trainables.task import Task


def tiny(name: str, data: Path | None, seed: int) -> Task:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    return small_task(model=model, parent={"training": {"lr": 1e-2, "batch_size": 32}})


def test_every_criterion_has_a_row_and_the_best_is_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "task_of", tiny)
    monkeypatch.setattr(benchmark, "EPOCHS", {"digits": 1})
    monkeypatch.setattr("raysearch.trainables.pruning.gradients.EXAMPLES", 64)
    threads = torch.get_num_threads()
    try:
        benchmark.main(["--seeds", "2", "--json"])
    finally:
        torch.set_num_threads(threads)
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["benchmark"] == "pruning_criteria"
    assert [line.split()[0] for line in table[2:10]] == ["unpruned", *benchmark.RULES]
    assert 20 < found["figures"]["digits/unpruned/@0.5"] <= 100
    for rule in benchmark.RULES:
        assert found["figures"][f"digits/{rule}/seconds"] > 0
    assert any(name.startswith("digits/p before: ") for name in found["figures"])


def test_the_test_is_paired_and_one_sided() -> None:
    parents = np.array([10.0, 50.0, 90.0])  # the spread between seeds is no noise of the difference
    rows = {"a": {"@": parents + np.array([1.0, 1.1, 0.9])}, "b": {"@": parents}}
    assert benchmark.p_value(rows, ["@"], "a", "b") < 0.01
    assert benchmark.p_value(rows, ["@"], "b", "a") > 0.99


def test_cifar_10_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark.task_of("cifar10", tmp_path / "nowhere", 0)
    assert stop.value.code == 2
    assert "nowhere does not exist" in capsys.readouterr().err
