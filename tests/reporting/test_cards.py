"""What lies beside a variant's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_run import RMSE, STUDY, TARGET, FakeRun, make_events, study_of, write_run

from raysearch.record.results import RunResult
from raysearch.record.run_record import RunRecord
from raysearch.reporting.cards import write_cards
from raysearch.reporting.html import render

SPEC = {"version": 1, "architecture": {"family": "resnet"}}


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    """The variant folders of a run with every reference; 0001 is of a user's own model."""
    run = FakeRun(STUDY, 0)
    for name, bits in (("parent", 32), ("parent-longer", 32), ("parent-int8", 8), ("larger", 32)):
        run.trial(name, "reference", bits, 1.0)
    for name, bits in (("0000", 8), ("0001", 2), ("0002", 8)):
        run.trial(name, "trial", bits, 0.5, **({"end": "stopped", "at": 3} if name == "0002" else {}))
    run.events[-1]["outcome"] = "stopped"
    run.final("0000", 0.05, 0.97)
    run.events[-1]["values"] |= {f"test_accuracy/{TARGET}": 0.97}
    last = next(e for e in reversed(run.events) if e["event"] == "report" and e["trial"] == "0000")
    last["values"] |= {"nonzero_rate": 0.9}
    folder = write_run(tmp_path / "run", run.events)
    for path in folder.glob("variants/*/spec.json"):
        spec = {**SPEC, "architecture": None} if path.parent.name == "0001" else SPEC
        path.write_text(json.dumps(spec))
    (folder / "variants" / "parent-int8" / "spec.json").unlink()
    write_cards(RunRecord.load(folder), folder)
    return folder / "variants"


def card(variants: Path, name: str) -> str:
    return (variants / name / "README.md").read_text(encoding="utf-8")


def test_every_variant_that_is_left_has_a_card(variants: Path) -> None:
    cards = {path.parent.name for path in variants.glob("*/README.md")}
    assert cards == {path.parent.name for path in variants.glob("*/metrics.json")}
    assert cards == {"parent", "parent-longer", "parent-int8", "larger", "0000", "0001"}


def test_a_snippet_that_runs_or_none(variants: Path) -> None:
    assert 'rs.load_variant("0000")' in card(variants, "0000")
    assert 'rs.load_variant("0001", model=model)' in card(variants, "0001")
    assert "# model: the network that was compressed" in card(variants, "0001")
    assert "load_variant" not in card(variants, "parent-int8")
    assert "```" not in card(variants, "parent-int8")


@pytest.mark.parametrize(
    ("name", "opening"),
    [
        ("parent", "The parent: "),
        ("parent-int8", "The parent in eight bits by the runtime's own static quantisation"),
        ("parent-longer", "The parent, trained on for a trial's epochs"),
        ("larger", "The larger network: trained to teach"),
        ("0000", f"On {TARGET}: "),
    ],
)
def test_a_card_opens_with_what_it_is_about(variants: Path, name: str, opening: str) -> None:
    assert card(variants, name).splitlines()[2].startswith(opening)


def test_rivals_are_compared_with_the_parent_and_the_parent_is_not(variants: Path) -> None:
    for name in ("parent-int8", "0000"):
        assert "x the parent's speed (faster)" in card(variants, name)
    assert "the parent's speed" not in card(variants, "parent")


def test_each_figure_says_where_it_comes_from(variants: Path) -> None:
    figures = json.loads((variants / "0000" / "metrics.json").read_text())["figures"]
    measured = "measured in onnxruntime 1.31.1"
    for name in ("accuracy", "test_accuracy"):
        assert figures[name]["source"] == figures[f"{name}/{TARGET}"]["source"] == measured
    assert figures[f"latency_ms/{TARGET}"] == {"value": 0.05, "source": measured}
    for name in ("size_mb", "macs", f"peak_memory_mb/{TARGET}"):
        assert figures[name]["source"] == "static"
    assert figures["nonzero_rate"]["source"] == "counted on the trained weights"
    assert f"| accuracy/{TARGET} | " in card(variants, "0000")
    assert f"| {measured} |" in card(variants, "0000")


def test_measurements_and_notes_are_kept(variants: Path) -> None:
    metrics = json.loads((variants / "0001" / "metrics.json").read_text())
    assert [m["target"] for m in metrics["measurements"]] == [TARGET]
    assert metrics["notes"] == ["weights of 2 bits are computed in 8: they count in size_mb, not in latency"]
    assert f"- {metrics['notes'][0]}" in card(variants, "0001")
    measured = "measured in onnxruntime 1.31.1, Xeon (Cascade Lake), batch 1, 1 thread(s), noise 1.2%"
    assert f"- {TARGET}: {measured}" in card(variants, "0001")


def test_a_metric_of_the_tasks_own_is_on_the_card(tmp_path: Path) -> None:
    run = FakeRun(study_of(RMSE), 0, RMSE)
    run.trial("parent", "reference", 32, 1.0)
    run.final("parent", 0.4, 0.97)
    run.events[-1]["values"] |= {f"test_rmse/{TARGET}": RMSE(0.97)}
    folder = write_run(tmp_path / "run", run.events)
    write_cards(RunRecord.load(folder), folder)
    figures = json.loads((folder / "variants" / "parent" / "metrics.json").read_text())["figures"]
    for name in ("rmse", f"rmse/{TARGET}", "test_rmse", f"test_rmse/{TARGET}"):
        assert figures[name]["source"] == "measured in onnxruntime 1.31.1"
    assert f"| test_rmse | {RMSE(0.97):.6g} | measured in onnxruntime 1.31.1 |" in card(
        folder / "variants", "parent"
    )


def test_an_estimate_says_who_predicted_it(tmp_path: Path) -> None:
    events = make_events()
    estimate = {"target": "npu", "figures": {"latency_ms": 1.5, "peak_memory_mb": 0.1}, "source": "predicted"}
    estimate |= {"runtime": "compiler", "version": "5.2", "device": "NPU", "batch": 1, "cached": False}
    for event in events:
        if event["event"] == "report" and event["step"] == 0:
            event["values"] |= {"latency_ms/npu": 1.5, "peak_memory_mb/npu": 0.1}
            event["measurements"].append(estimate)
        elif event["event"] == "run":
            event["study"] = {**event["study"], "targets": [*event["study"]["targets"], "npu"]}
    folder = write_run(tmp_path / "run", events)
    write_cards(RunRecord.load(folder), folder)
    text = (folder / "variants" / "parent" / "README.md").read_text()
    assert "- npu: predicted by compiler 5.2, NPU, batch 1" in text
    assert "| peak_memory_mb/npu | 0.1 | predicted by compiler 5.2 |" in text
    assert "| latency_ms/npu | 1.5 | predicted by compiler 5.2 |" in text
    page = render(RunResult(folder))
    assert "compiler 5.2" in page
    assert "nan" not in page.split("How the figures were made")[1].split("</section>")[0]


def test_a_prediction_is_called_one(tmp_path: Path) -> None:
    run = FakeRun(STUDY, 0)
    run.trial("parent", "reference", 32, 1.0)
    report = next(event for event in run.events if event["event"] == "report")
    made = {"latency_ms": 0.11, "interval": [0.09, 0.13], "models": 12, "source": "predicted"}
    report["measurements"][0] = {**report["measurements"][0], **made}
    folder = write_run(tmp_path / "run", run.events)
    write_cards(RunRecord.load(folder), folder)
    text = card(folder / "variants", "parent")
    assert f"- {TARGET}: predicted from 12 models measured in onnxruntime 1.31.1" in text
    assert "0.09 to 0.13 ms" in text
    figures = json.loads((folder / "variants" / "parent" / "metrics.json").read_text())["figures"]
    assert figures[f"latency_ms/{TARGET}"]["source"] == "predicted from 12 models in onnxruntime 1.31.1"
    assert figures["macs"]["source"] == "static"
