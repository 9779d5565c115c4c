"""A trial whose network inputs may leave early, from config to checked files, without Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exiting_network import build
from onnx import numpy_helper
from ray import tune
from trial_setup import PARENT, small_task

import raysearch as rs
from raysearch import search_spaces as spaces
from raysearch.backends import get
from raysearch.backends.cascade import Cascade
from raysearch.search_spaces.binding import bind
from raysearch.trainables.exits.evaluation import Leaving
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.keeping import variants
from raysearch.trainables.setup import Report, TrialSetup
from raysearch.trainables.stages import TrialStages

EARLY, WHOLE, PLAIN = 0.4, 1.0, 0.8
MEAN = "mean_latency_ms/onnxruntime-cpu"


class Measure:
    """What inputs take that leave, that do not, and of networks without an exit; each file is run once."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, target: Any, path: Path, example: Any, **_: Any) -> dict[str, Any]:
        self.calls += 1
        target.load(path)(example)
        constants = {t.name: float(numpy_helper.to_array(t)) for t in onnx.load(str(path)).graph.initializer
                     if not t.dims and t.name == "exit_threshold"}  # fmt: skip
        known = {-1.0: EARLY, 2.0: WHOLE}
        latency = known[constants["exit_threshold"]] if constants else PLAIN
        return {"target": target.name, "latency_ms": latency, "noise": 0.01}


def setup_of(folder: Path, budget: float) -> TrialSetup:
    """Small residual networks of two stages, with an exit or none, at eight bits."""
    parent = {**PARENT, "architecture": {**PARENT["architecture"], "stages": 2}}
    parent["architecture"]["stage2"] = {**PARENT["architecture"]["stage1"], "width": 16}
    space = bind(
        {
            "architecture": spaces.resnet(
                stages=2, depth=(1, 2), width=(8, 16), exits=("none", "after_stage_1")
            ),
            "pruning": spaces.channel_pruning(max_ratio=0.5, multiple=4),
            "bits": spaces.bit_widths(weights=(8, 32), activations=(8, 32)),
            "teacher": spaces.teachers("parent", None),
            "training": {"exit_budget": budget, "lr": 3e-3, "batch_size": 64},
        },
        parent=parent,
    )
    references = {"parent": space.settled(parent)}
    return TrialSetup(small_task(), space, (get("onnxruntime-cpu"),), 2, folder, references=references)


def reports_of(run: TrialStages) -> list[Report]:
    found = [run.next_report()]
    while found[-1].step < run.last_step:
        found.append(run.next_report())
    return found


def with_exit(setup: TrialSetup, **changes: Any) -> dict[str, Any]:
    parent = setup.references["parent"]
    return {**parent, "architecture": {**parent["architecture"], "exits": "after_stage_1"}, **changes}


EIGHT = {"stem": {"weights": 8, "activations": 8}}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TrialSetup:
    """A run whose parent is trained, with a budget of 0.7 of the latency."""
    torch.set_num_threads(1)
    setup = setup_of(tmp_path_factory.mktemp("run"), 0.7)
    reports_of(TrialStages(setup, "parent", setup.references["parent"], Measure()))
    return setup


def test_the_budget_is_kept_and_both_forms_are_what_was_trained(setup: TrialSetup) -> None:
    config = with_exit(setup, bits=EIGHT, pruning={"ratios": {"stage1": 0.5, "stage2": 0.5}})
    run = TrialStages(setup, "exits", config, Measure())
    first, *epochs, last = reports_of(run)
    for report in (first, *epochs, last):
        assert report.values["exit_share"] == pytest.approx(0.5, abs=0.011)
        assert report.values[MEAN] <= 0.7 + 1e-9
    assert first.values["latency_ms/onnxruntime-cpu"] == WHOLE
    assert first.measurements[0]["early_ms"] == EARLY
    assert run.history  # channels went, those that the exit reads among them
    folder, target = setup.variant_folder("exits"), get("onnxruntime-cpu")
    x, y = setup.task.validation.tensors  # type: ignore[attr-defined]
    given = feed_of(x)
    one = target.load(folder / "model.onnx")(given)[0]
    assert setup.task.metrics["accuracy"](torch.from_numpy(one), y) == last.values["accuracy"]
    two = Cascade(target, folder / "model-early.onnx", folder / "model-late.onnx")(given)[0]
    assert (one.argmax(1) == two.argmax(1)).all()
    module = rs.load_variant(folder)
    assert isinstance(module, Leaving)
    assert (module(x).argmax(1) == torch.from_numpy(one).argmax(1)).float().mean() > 0.95
    leaves = target.load(folder / "model-early.onnx")(given)[1]
    assert leaves.mean() == pytest.approx(last.values["exit_share"], abs=0.02)


def test_a_plain_variant_of_the_same_study_takes_what_it_takes(setup: TrialSetup) -> None:
    first, *rest = reports_of(TrialStages(setup, "plain", setup.references["parent"], Measure()))
    for report in (first, *rest):
        assert report.values[MEAN] == PLAIN
        assert report.values["exit_share"] == 0
    assert "exit" not in json.loads((setup.variant_folder("plain") / "spec.json").read_text())


def test_a_study_without_exits_says_nothing_of_them(tmp_path: Path) -> None:
    space = bind({"architecture": spaces.resnet(stages=1, width=(8, 16))}, parent=PARENT)
    task = small_task()
    setup = TrialSetup(task, space, (get("onnxruntime-cpu"),), 1, tmp_path, references={"parent": PARENT})
    first, *_ = reports_of(TrialStages(setup, "0001", PARENT, Measure()))
    assert not any("exit" in name or "mean" in name for name in first.values)


def test_an_interrupted_trial_goes_on_where_it_stood(setup: TrialSetup) -> None:
    config = with_exit(setup, bits=EIGHT, teacher={"name": "parent"})
    whole = reports_of(TrialStages(setup, "whole", config, Measure()))
    for _ in range(len(whole) - 1):  # a new process after each report
        TrialStages(setup, "torn", config, Measure()).next_report()
        torn = TrialStages(setup, "torn", config, Measure())
        torn._repeat = []  # what was saved is repeated: here only what is new
        if torn.reports[-1].step < torn.last_step:
            torn.next_report()
    again = reports_of(TrialStages(setup, "torn", config, Measure()))
    assert [r.values for r in again] == [r.values for r in whole]


def test_a_variant_is_served_as_any_other(setup: TrialSetup) -> None:
    reports_of(TrialStages(setup, "served", with_exit(setup, bits=EIGHT), Measure()))
    file = setup.variant_folder("served") / "model.onnx"
    inputs, _ = setup.task.example(6, "test")
    module = rs.load_variant(setup.variant_folder("served"))
    with rs.serving.Router([rs.serving.Servable("served", Path(str(file)), 0.9)], slo_ms=1000) as router:
        replies = [router.predict(image.numpy()) for image in inputs]
    classes = [int(np.argmax(reply.outputs)) for reply in replies]
    assert sum(a == b for a, b in zip(classes, module(inputs).argmax(1).tolist(), strict=True)) >= 5


def test_damaged_files_are_exported_again_by_the_same_rule(setup: TrialSetup) -> None:
    config = with_exit(setup)
    reports_of(TrialStages(setup, "damaged", config, Measure()))
    folder = setup.variant_folder("damaged")
    before = {name: (folder / name).read_bytes() for name in ("model.onnx", "model-late.onnx")}
    (folder / "model-late.onnx").write_bytes(b"")
    assert not variants.variant_is_whole(setup, "damaged")
    assert variants.restore(setup, "damaged", config) == variants.EXPORTED
    assert variants.variant_is_whole(setup, "damaged")
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_network_of_a_users_own_may_be_left_too(tmp_path: Path) -> None:
    task = small_task(model=build, parent={"training": {"lr": 1e-2, "batch_size": 32}})
    space = bind(
        {"architecture": {"exits": tune.choice([False, True])}, "training": {"lr": 1e-2, "batch_size": 32}},
        build=build,
        example_input=task.example_input(2),
    )
    assert space.exits
    parent = {"architecture": {"exits": False}, "training": {"lr": 1e-2, "batch_size": 32}}
    setup = TrialSetup(task, space, (get("onnxruntime-cpu"),), 2, tmp_path, references={"parent": parent})
    config = {**parent, "architecture": {"exits": True}}
    last = reports_of(TrialStages(setup, "0001", config, Measure()))[-1]
    share = last.values["exit_share"]
    assert last.values[MEAN] == pytest.approx(share * EARLY + (1 - share) * WHOLE)
    assert isinstance(rs.load_variant(setup.variant_folder("0001"), build), Leaving)
    plain = reports_of(TrialStages(setup, "0002", parent, Measure()))[-1]
    assert plain.values["exit_share"] == 0
