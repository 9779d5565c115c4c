"""The benchmarks as commands, on made-up tables of the same format."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def figures(name: str, *arguments: str) -> dict:
    done = run(name, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {"benchmark", "figures", "peers"}
    assert found["benchmark"] == name
    return found


def test_early_stopping_takes_any_file_of_the_format(tmp_path):
    rng = np.random.default_rng(0)
    floor = rng.random((80, 1))
    curves = 100 * (floor + (1 - floor) / np.arange(1, 10))
    path = tmp_path / "curves.npz"
    np.savez(
        path,
        error_a=curves,
        log10_params_a=rng.random(80),
        error_b=curves[::-1],
        log10_params_b=rng.random(80),
    )
    found = figures("early_stopping", "--data", str(path), "--seeds", "3")
    assert found["figures"]["hv@2080"] <= 1
    assert found["peers"]["full_training"]["hv@2080"] == 1  # 720 epochs train everything


@pytest.mark.slow
def test_search_takes_any_file_of_the_format(tmp_path):
    edges = ["op_01", "op_02", "op_12", "op_03", "op_13", "op_23"]
    table = pd.DataFrame(list(itertools.product("ab", repeat=6)), columns=edges)
    table["acc"] = np.random.default_rng(0).random(64) * 100
    table["latency_ms/board"] = np.random.default_rng(1).random(64)
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    found = figures("search", "--data", str(path), "--seeds", "2", "--accuracy", "acc", "--latency", "board")
    assert found["figures"]["hv@25"] <= found["figures"]["hv@400"] == found["peers"]["random"]["hv@400"] == 1


def test_a_table_that_lacks_a_column_is_refused_in_a_sentence(tmp_path):
    table = pd.DataFrame({"op_01": ["a"], "op_02": ["a"], "op_3": ["a"], "accuracy": [1.0]})
    table.to_parquet(tmp_path / "table.parquet")
    table.to_csv(tmp_path / "sweep.csv")
    np.savez(tmp_path / "curves.npz", error_a=np.ones((2, 3)), log10_params_b=np.ones(2))
    (tmp_path / "text.parquet").write_text("no table")
    for name, file, message in [
        ("search", "table.parquet", "has no column"),
        ("joint", "table.parquet", "has no column"),
        ("allocation", "sweep.csv", "has no column 'branch'; known: "),
        ("early_stopping", "curves.npz", "has no column 'log10_params_a'; did you mean 'log10_params_b'?"),
        ("search", "text.parquet", "is not a table: "),
    ]:
        done = run(name, "--data", str(tmp_path / file))
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"{tmp_path / file} {message}"), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/nowhere/table"], "/nowhere/table does not exist"),
        (["--seeds", "1"], "needs a whole number from 2 on"),
    ],
)
@pytest.mark.parametrize("name", ["search", "early_stopping"])
def test_bad_arguments_are_refused_in_a_sentence(name, arguments, message):
    done = run(name, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_small_studies_take_any_file_of_the_format(tmp_path):
    rng = np.random.default_rng(0)
    floor = rng.random((80, 1))
    curves = 100 * (floor + (1 - floor) / np.arange(1, 28))
    path = tmp_path / "curves.npz"
    np.savez(path, error_a=curves, log10_params_a=rng.random(80))
    found = figures("small_studies", "--data", str(path), "--seeds", "2")
    assert found["figures"]["worst_share"] == 1, "curves that never cross hide nothing"
    assert found["figures"]["epochs@27"] < 0.4
    assert set(found["peers"]["full_training"].values()) == {1.0}
