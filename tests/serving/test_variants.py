"""Fronts as they are read from run folders and exported ones."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import LIKELIHOOD, RMSE, make_events, write_run
from onnx import TensorProto, helper
from served import front_folder, network_file, onnx_file

from raysearch.basics.failures import MissingFile, UserError
from raysearch.results import StudyResult
from raysearch.serving.variants import Front, Servable, load, measure, read_front
from raysearch.storage import folder_of, write


def run_folder(folder: Path, **options: object) -> Path:
    write_run(folder, make_events(**options))  # type: ignore[arg-type]
    for trial in StudyResult(folder).front_records:
        onnx_file(folder / "variants" / trial.name / "model.onnx", 1)
    return folder


def test_a_run_folder_and_its_export_are_the_same_front(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    StudyResult(folder).export(tmp_path / "out")
    for found in (read_front(folder), read_front(str(tmp_path / "out")), read_front(StudyResult(folder))):
        qualities = [variant.quality for variant in found.variants]
        assert len(qualities) > 2
        assert qualities == sorted(qualities)
        assert {v.name for v in found.variants} == {t.name for t in StudyResult(folder).front_records}
        assert all(variant.file.is_file() for variant in found.variants)


@pytest.mark.parametrize(("quality", "worst_first"), [(RMSE, -1), (LIKELIHOOD, 1)])
def test_the_worst_stands_first_whichever_way_is_better(tmp_path: Path, quality, worst_first: int) -> None:  # type: ignore[no-untyped-def]
    found = read_front(run_folder(tmp_path / "run", quality=quality))
    figures = [worst_first * variant.quality for variant in found.variants]
    assert found.metric == quality.name
    assert figures == sorted(figures)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("quality", "worst_first"), [(RMSE, -1), (LIKELIHOOD, 1)])
def test_an_export_is_not_turned_round_by_what_the_first_objective_is(
    tmp_path: Path, quality, worst_first: int, first: bool
) -> None:  # type: ignore[no-untyped-def]
    folder = run_folder(tmp_path / "run", quality=quality)
    result = StudyResult(folder)
    # As another objective would have it.
    result._front.sort(key=lambda trial: trial.values[quality.name], reverse=first)
    result.export(tmp_path / "out")
    found = read_front(tmp_path / "out")
    figures = [worst_first * variant.quality for variant in found.variants]
    assert found == Front(tuple(replace(v, file=tmp_path / "out" / v.name / "model.onnx")
                                for v in read_front(folder).variants), quality.name)  # fmt: skip
    assert figures == sorted(figures)


def test_an_older_export_whose_first_objective_is_latency(tmp_path: Path) -> None:
    front_folder(tmp_path)
    table = pd.read_csv(tmp_path / "front.csv").sort_values("accuracy")
    table.insert(1, "latency_ms", [1.0, 2.0, 3.0])
    table.to_csv(tmp_path / "front.csv", index=False)
    assert [variant.name for variant in read_front(tmp_path).variants] == ["v1", "v2", "v3"]


def test_an_export_may_be_named_by_a_url_and_lie_in_a_bucket(tmp_path: Path) -> None:
    folder = front_folder(tmp_path / "out", (1, 2))
    assert read_front(f"file://{folder}") == read_front(folder)
    bucket = folder_of("memory://models/out")
    for file in (p for p in folder.rglob("*") if p.is_file()):
        write(bucket / file.relative_to(folder), file.read_bytes())
    found = read_front(str(bucket))
    held = [variant.file for variant in found.variants]
    assert len(held) == 2
    for variant in found.variants:
        assert variant.file.read_bytes() == (folder / variant.name / "model.onnx").read_bytes()
    del found, variant
    gc.collect()
    assert not any(file.parent.exists() for file in held)


def test_an_error_that_is_exported_is_better_where_it_is_lower(tmp_path: Path) -> None:
    front_folder(tmp_path, (1, 2))
    rows = [{"trial": "v2", "rmse": 1.0, "test_rmse": 1.5}, {"trial": "v1", "rmse": 2.0, "test_rmse": 2.5}]
    pd.DataFrame(rows).to_csv(tmp_path / "front.csv", index=False)
    found = read_front(tmp_path)
    assert [(v.name, v.quality) for v in found.variants] == [("v1", 2.5), ("v2", 1.5)]
    assert found.metric == "test_rmse"


def test_what_is_no_front_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"neither journal\.jsonl nor front\.csv"):
        read_front(tmp_path)
    (tmp_path / "front.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="names no trial"):
        read_front(tmp_path)
    front_folder(tmp_path, (1, 2))
    for wrong in ("{", "[]", "{}", '{"metric": "no column", "higher_is_better": true}'):
        (tmp_path / "front.json").write_text(wrong)
        with pytest.raises(UserError, match="metric"):
            read_front(tmp_path)
    (tmp_path / "front.json").unlink()
    (tmp_path / "v2" / "model.onnx").unlink()
    with pytest.raises(MissingFile, match="variant v2 cannot be served"):
        read_front(tmp_path)


def test_variants_are_measured_in_batches_that_gain(tmp_path: Path) -> None:
    loaded = [load(variant) for variant in read_front(front_folder(tmp_path)).variants]
    times = measure(loaded)
    assert [one.open_batch for one in loaded] == [True] * 3
    assert all(set(row) <= {1, 2, 4, 8} and 1 in row for row in times)
    assert times[0][1] < times[2][1]  # four products of 256 x 256 against twelve


@pytest.mark.parametrize(
    ("given", "output", "nodes", "sentence"),
    [
        ([8, 4], [8, 4], [helper.make_node("Relu", ["x"], ["y"])], "'x' is a batch of 8"),
        (["n", 4], [], [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)], r"have the shapes \(\)"),
        (
            ["n", "m"],
            ["n", 9],
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "does not run an example of zeros",
        ),
    ],
)
def test_what_cannot_be_served_is_a_sentence(
    tmp_path: Path, given: list[int | str], output: list[int | str], nodes: list[object], sentence: str
) -> None:
    file = network_file(
        tmp_path / "own.onnx", nodes, (TensorProto.FLOAT, given), output, {"w": np.ones((5, 9), np.float32)}
    )
    with pytest.raises(UserError, match=f"variant own cannot be served: .*{sentence}"):
        load(Servable("own", file, 0.5))


def test_memory_that_another_session_left_is_counted_again(tmp_path: Path) -> None:
    """Many small blocks, which the allocator keeps when a session ends."""
    variant = Servable("v", onnx_file(tmp_path / "v.onnx", 1, work=2000), 0.5)
    first = load(variant).memory_mb
    later = [load(variant).memory_mb for _ in range(3)]
    assert min(later) > first / 2 > variant.file.stat().st_size / 1e6
