"""One trial from config to checked file, without Ray."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import onnx
import pytest
import torch
from ray import tune
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset
from trial_setup import ALL8, EIGHT_BITS, PARENT, FakeMeasure, make_setup, small_task

from raysearch import backends, load_variant, storage
from raysearch import search_spaces as spaces
from raysearch.backends.base import Form, Source
from raysearch.backends.runtimes.onnxruntime import OnnxRuntimeCpu
from raysearch.search_spaces.binding import bind
from raysearch.storage import Remote, files
from raysearch.trainables import hardware
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.keeping.checkpoints import read_state, write_state
from raysearch.trainables.setup import FILES, Report, TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.task import Task
from raysearch.trainables.training.epoch import TrainingDiverged


def reports(run: TrialStages) -> list[Report]:
    found = [run.next_report()]
    while found[-1].step < run.last_step:
        found.append(run.next_report())
    return found


def run_trial(setup: TrialSetup, name: str, config: dict[str, Any]) -> list[Report]:
    return reports(TrialStages(setup, name, config, FakeMeasure()))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TrialSetup:
    """A run whose parent is trained."""
    torch.set_num_threads(1)
    setup = make_setup(tmp_path_factory.mktemp("run"))
    run_trial(setup, "parent", PARENT)
    return setup


def test_hardware_comes_first_and_accuracy_is_the_files(setup: TrialSetup) -> None:
    measure = FakeMeasure()
    hardware, first, _, last = reports(TrialStages(setup, "whole", EIGHT_BITS, measure))
    assert set(hardware.values) == {
        "accuracy",
        "size_mb",
        "file_mb",
        "macs",
        "params",
        "latency_ms/onnxruntime-cpu",
        "throughput/onnxruntime-cpu",
        "peak_memory_mb/onnxruntime-cpu",
    }
    assert set(first.values) == {"accuracy"}
    assert last.values["accuracy"] == last.values["accuracy/onnxruntime-cpu"]
    assert last.values["file_mb"] == pytest.approx(hardware.values["file_mb"], rel=0.01)
    assert len(measure.calls) == 1
    assert 0 <= last.values["se_accuracy"] < 0.2  # of its difference from the parent
    folder = setup.variant_folder("whole")
    x, y = setup.task.validation.tensors  # type: ignore[attr-defined]
    computed = backends.get("onnxruntime-cpu").load(folder / "model.onnx")(feed_of(x))
    assert setup.task.metrics["accuracy"](torch.from_numpy(computed[0]), y) == last.values["accuracy"]
    as_written = backends.get("onnxruntime-cpu").load(folder / "model.onnx", optimize=False)(feed_of(x))
    same = torch.from_numpy(as_written[0]).argmax(1) == load_variant(folder)(x).argmax(1)
    assert same.float().mean() > 0.95  # values between two steps are rounded either way


@dataclass(frozen=True, kw_only=True)
class _Signed(OnnxRuntimeCpu):
    """A target that wants TensorRT's form, and computes it on the CPU."""

    runtime: str = "signed"
    name: str = "signed"
    form: ClassVar[Form] = "int8"


def test_one_network_is_written_for_targets_of_both_signs(tmp_path: Path) -> None:
    setup = replace(make_setup(tmp_path, epochs=1), targets=(backends.get("onnxruntime-cpu"), _Signed()))
    last = run_trial(setup, "both", EIGHT_BITS)[-1]
    assert last.values["accuracy/signed"] == pytest.approx(last.values["accuracy/onnxruntime-cpu"], abs=0.02)
    folder = setup.variant_folder("both")
    files = {"model.onnx", "model-int8.onnx", "spec.json", "weights.safetensors"}
    assert {path.name for path in folder.iterdir()} == files
    module, x = load_variant(folder), setup.task.validation.tensors[0]  # type: ignore[attr-defined]
    (computed,) = _Signed().load(folder / "model-int8.onnx", optimize=False)(feed_of(x))
    assert (module(x).argmax(1) == torch.from_numpy(computed).argmax(1)).float().mean() > 0.95


def test_a_variant_has_a_file_for_each_form_and_one_network(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    targets = ("onnxruntime-cpu", "litert-cpu")
    setup = make_setup(tmp_path, epochs=1, targets=targets)
    *_, last = run_trial(setup, "whole", EIGHT_BITS)
    folder = setup.variant_folder("whole")
    assert {path.name for path in folder.iterdir()} >= {"model.onnx", "model.tflite"}
    x, y = setup.task.validation.tensors  # type: ignore[attr-defined]
    module = load_variant(folder)
    assert "quantize_linear_8.scale" in module.state_dict()  # what the last layer gives is rounded too
    for target in targets:
        backend = backends.get(target)
        (logits,) = backend.load(folder / FILES[backend.form])(feed_of(x))
        given = torch.from_numpy(logits)
        assert setup.task.metrics["accuracy"](given, y) == last.values[f"accuracy/{target}"]
        assert (given.argmax(1) == module(x).argmax(1)).float().mean() >= 0.95


@dataclass(frozen=True, kw_only=True)
class _Npu(OnnxRuntimeCpu):
    """A target that predicts from the weights' values, and computes nothing in float."""

    runtime: str = "npu"
    name: str = "npu"
    integers_only: ClassVar[bool] = True

    @property
    def figures(self) -> dict[str, Source]:  # type: ignore[override]
        return {"latency_ms": "predicted"}

    def estimate(self, path: Path, example: Any) -> tuple[dict[str, float], list[str]]:
        assert "QuantizeLinear" in {node.op_type for node in onnx.load(str(path)).graph.node}
        return {"latency_ms": 1.0 + len(path.read_bytes()) / 1e6}, []


def test_what_is_predicted_is_of_the_file_that_is_shipped(tmp_path: Path) -> None:
    """A compiler looks at the weights' values; the parent, in float, is asked about at eight bits."""

    def measure(target: Any, path: Path, example: Any, **_: Any) -> dict[str, Any]:
        figures, notes = target.estimate(path, example)
        return {"target": target.name, "figures": figures, "notes": notes, "file": path.read_bytes().hex()}

    setup = replace(make_setup(tmp_path, epochs=1), targets=(_Npu(),))
    found = {}
    for name, config in (("parent", PARENT), ("whole", EIGHT_BITS)):
        stages = TrialStages(setup, name, config, measure)
        found[name] = reports(stages)
    first, *_, last = found["whole"]
    shipped = (setup.variant_folder("whole") / "model.onnx").read_bytes()
    assert last.measurements[0]["file"] == shipped.hex()
    assert last.measurements[0]["file"] != first.measurements[0]["file"]
    assert last.values["latency_ms/npu"] == pytest.approx(1.0 + len(shipped) / 1e6)
    assert "stands_in" not in last.measurements[0]
    for report in (found["parent"][0], found["parent"][-1]):
        assert report.measurements[0]["stands_in"]
    assert any("computes nothing in float" in note for note in found["parent"][0].notes)


def test_only_the_parent_is_the_reference(tmp_path: Path) -> None:
    measure = FakeMeasure()
    setup = make_setup(tmp_path, epochs=1)
    TrialStages(setup, "parent", PARENT, measure).next_report()
    TrialStages(setup, "other", PARENT, measure).next_report()
    assert [call["reference"] for call in measure.calls] == [True, False]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_trial_built_again_goes_on_as_if_it_had_never_stopped(setup: TrialSetup, cut: int) -> None:
    config = {**EIGHT_BITS, "pruning": {"ratios": {"stage1": 0.5}}}
    whole = run_trial(setup, f"uninterrupted-{cut}", config)
    first = TrialStages(setup, f"cut-{cut}", config, FakeMeasure())
    for _ in range(cut):
        first.next_report()
    measure = FakeMeasure()
    again = reports(TrialStages(setup, f"cut-{cut}", config, measure))
    assert [r.values for r in again] == [r.values for r in whole]
    assert not measure.calls


def test_what_another_config_left_under_the_same_name_is_not_gone_on_with(setup: TrialSetup) -> None:
    TrialStages(setup, "again given", EIGHT_BITS, FakeMeasure()).next_report()
    hardware = TrialStages(setup, "again given", PARENT, FakeMeasure()).next_report()
    fresh = TrialStages(setup, "another name", PARENT, FakeMeasure()).next_report()
    assert hardware.values == fresh.values
    assert hardware.notes[-1] == "its checkpoint was of another config: it began again"


def test_a_checkpoint_of_an_earlier_version_does_not_say_its_config(setup: TrialSetup) -> None:
    device = torch.device("cpu")
    run = TrialStages(setup, "earlier", EIGHT_BITS, FakeMeasure())
    before = run.next_report()
    file = setup.trial_folder("earlier") / "checkpoint.pt"
    state = read_state(file, device)
    assert state.pop("key") == run.key
    write_state(file, state)
    measure = FakeMeasure()
    assert TrialStages(setup, "earlier", EIGHT_BITS, measure).next_report() == before
    assert not measure.calls


def test_two_processes_that_save_the_same_trial_write_to_different_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, written = make_setup(tmp_path, epochs=1), []
    aside = setup.trial_folder("parent")
    places = [aside / "checkpoint.pt", setup.variant_folder("parent"), setup.reference_weights("parent")]
    for process in (4001, 4002):
        monkeypatch.setattr(files.os, "getpid", lambda p=process: p)
        parts = [files._part(place, aside) for place in places]
        assert len({*written, *parts}) == len(written) + 3
        written += parts
        if process == 4001:  # what a process leaves half written is in nobody's way
            parts[0].parent.mkdir(parents=True)
            parts[0].write_text("half")
            parts[1].mkdir()
            parts[2].write_text("half")
    reports(TrialStages(setup, "parent", PARENT, FakeMeasure()))
    assert setup.reference_weights("parent").exists()
    assert [p.name for p in (tmp_path / "variants").iterdir()] == ["parent"]
    left = {p.name for p in (tmp_path / "references").iterdir()}
    assert left == {"parent.safetensors", "parent.parts.json"}
    left = {p.name for p in setup.trial_folder("parent").iterdir()}
    assert left == {"best.pt", "checkpoint.pt", *(p.name for p in written[:3])}


def test_the_same_seed_gives_the_same_trial_under_any_name(setup: TrialSetup) -> None:
    one, other = (run_trial(setup, name, EIGHT_BITS) for name in ("one", "other"))
    assert [r.values for r in one] == [r.values for r in other]


def test_epochs_are_float_first_and_then_quantised(tmp_path: Path, setup: TrialSetup) -> None:
    fresh = make_setup(tmp_path, epochs=6)
    share = {**EIGHT_BITS, "training": {"quantized_share": 0.5}}
    assert TrialStages(fresh, "float", PARENT, FakeMeasure()).float_epochs == 6
    assert TrialStages(fresh, "third", EIGHT_BITS, FakeMeasure()).float_epochs == 4
    assert TrialStages(fresh, "half", share, FakeMeasure()).float_epochs == 3
    # From the parent's trained weights it goes straight to the quantised part, unless it was pruned.
    assert TrialStages(setup, "straight", EIGHT_BITS, FakeMeasure()).float_epochs == 0
    pruned = {**EIGHT_BITS, "pruning": {"ratios": {"stage1": 0.5}}}
    assert TrialStages(setup, "pruned", pruned, FakeMeasure()).float_epochs == 1


def test_low_bits_count_in_size_and_are_remarked_on(setup: TrialSetup) -> None:
    two = {**EIGHT_BITS, "bits": {**ALL8, "stage1": {"own": True, "weights": 2, "activations": 8}}}
    low, eight = (
        TrialStages(setup, name, config, FakeMeasure()).next_report()
        for name, config in (("two-bits", two), ("eight-bits", EIGHT_BITS))
    )
    assert low.values["size_mb"] < eight.values["size_mb"]
    remark = "weights of 2 bits are computed in 8: they count in size_mb, not in latency"
    assert low.notes == [remark, *eight.notes]
    narrow = ["integer weights lie within 7 bits: sums overflow beyond on this processor"]
    assert eight.notes == (narrow if setup.weight_bits == 7 else [])


def test_a_teacher_and_label_smoothing_change_what_is_learnt(setup: TrialSetup) -> None:
    teacher = {"name": "parent", "temperature": 4.0, "weight": 0.9}
    taught = TrialStages(setup, "taught", {**EIGHT_BITS, "teacher": teacher}, FakeMeasure())
    smooth = TrialStages(setup, "smooth", {**EIGHT_BITS, "training": {"label_smoothing": 0.3}}, FakeMeasure())
    x, y = (t[:8] for t in setup.task.train.tensors)  # type: ignore[attr-defined]
    for run in (taught, smooth):
        plain = setup.task.loss(run.module(x), y).item()
        assert run._loss()(run.module, x, y).item() != pytest.approx(plain)


def test_accuracy_is_the_lowest_over_the_targets(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, epochs=1, targets=("onnxruntime-cpu", "torch-cpu"))
    hardware, _, last = run_trial(setup, "both", EIGHT_BITS)
    assert {m["target"] for m in hardware.measurements} == {"onnxruntime-cpu", "torch-cpu"}
    assert "latency_ms/torch-cpu" in hardware.values
    each = [last.values["accuracy/onnxruntime-cpu"], last.values["accuracy/torch-cpu"]]
    assert last.values["accuracy"] == min(each)
    assert {p.name for p in setup.variant_folder("both").iterdir()} >= {"model.onnx", "model.pt2"}


def nan_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.sum() * math.nan


def test_a_loss_that_is_not_finite_ends_the_trial(tmp_path: Path) -> None:
    run = TrialStages(make_setup(tmp_path, small_task(loss=nan_loss)), "nan", PARENT, FakeMeasure())
    run.next_report()
    with pytest.raises(TrainingDiverged, match="the loss became nan at a learning rate"):
        run.next_report()


class Level(nn.Module):
    """One number an image, of shape (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(8 * 36, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).flatten(1)).flatten()  # type: ignore[no-any-return]


def rmse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean().sqrt()


def largest(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float(outputs.max())


def regression(folder: Path, **changes: Any) -> TrialSetup:
    """How bright digits are, by a fixed model, on two targets."""
    digits = small_task()
    splits = {
        name: TensorDataset(x, x.mean((1, 2, 3)))
        for name in ("train", "validation", "test")
        for x in [getattr(digits, name).tensors[0]]
    }
    torch.manual_seed(0)
    given = {"model": Level(), "metrics": {"rmse": rmse, "largest": largest}, "loss": functional.mse_loss}
    task = Task(**{**given, **splits, **changes})
    bits = {name: {"weights": tune.choice([8, 32]), "activations": 8} for name in ("conv", "head")}
    space = bind(
        {"bits": bits, "teacher": spaces.teachers("parent", None)},
        model=task.build(),
        example_input=task.example_input(2),
    )
    parent: dict[str, Any] = {"training": {"lr": 1e-2}}
    targets = (backends.get("onnxruntime-cpu"), backends.get("torch-cpu"))
    maximize = {"rmse": False}
    return TrialSetup(task, space, targets, 2, folder, references={"parent": parent}, maximize=maximize)


TAUGHT = {
    "bits": {name: {"weights": 8, "activations": 8} for name in ("conv", "head")},
    "teacher": {"name": "parent", "temperature": 2.0, "weight": 0.5},
}


def test_a_regressor_is_reported_by_its_own_metrics(tmp_path: Path) -> None:
    setup = regression(tmp_path)
    run_trial(setup, "parent", setup.references["parent"])
    _, first, _, last = run_trial(setup, "taught", TAUGHT)
    assert set(first.values) == {"rmse", "largest"}
    assert {"rmse", "largest", "rmse/torch-cpu", "largest/torch-cpu"} <= set(last.values)
    assert "accuracy" not in last.values
    for name, worst in (("rmse", max), ("largest", min)):
        each = [last.values[f"{name}/{target.name}"] for target in setup.targets]
        assert last.values[name] == worst(each)
    module = load_variant(setup.variant_folder("taught"), model=setup.task.model)
    x, y = setup.task.validation.tensors  # type: ignore[attr-defined]
    with torch.no_grad():
        assert float(rmse(module(x), y)) == pytest.approx(last.values["rmse/onnxruntime-cpu"], rel=0.05)
        assert first.values["rmse"] < rmse(setup.task.build()(x), y)


def test_a_frozen_network_is_reported_as_it_is(tmp_path: Path) -> None:
    setup = regression(tmp_path)
    setup.task.model.requires_grad_(False)  # type: ignore[union-attr]
    _, first, second, *_ = run_trial(setup, "parent", setup.references["parent"])
    assert first.notes == ["all layers are frozen, so that nothing was trained"]
    assert first.values == second.values


class Endless(nn.Module):
    """Runs, but cannot be captured."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while torch.compiler.is_exporting():
            pass
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


def endless(plan: Any) -> nn.Module:
    return Endless()


def test_a_tracing_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "TRACING_LIMIT_S", 0.5)
    run = TrialStages(make_setup(tmp_path, small_task(model=endless)), "hangs", PARENT, FakeMeasure())
    with pytest.raises(ValueError, match=r"exporting the network took longer than 0.5 s, in Endless.forward"):
        run.next_report()


def test_where_time_is_short_a_parent_ends_with_its_round(tmp_path: Path) -> None:
    setup = replace(make_setup(tmp_path, epochs=2), patience=0.0)
    found = run_trial(setup, "parent", PARENT)
    assert [report.step for report in found] == [0, 1, 2, setup.last_step("parent")]
    assert len(run_trial(replace(setup, patience=math.inf), "parent", PARENT)) == len(
        found
    )  # as it was saved


def test_a_trial_in_a_bucket_is_the_same_and_goes_on_from_there(setup: TrialSetup) -> None:
    def shown(found: list[Report]) -> list[dict[str, float]]:
        return [{k: v for k, v in r.values.items() if not k.startswith("latency_ms")} for r in found]

    bucket = replace(setup, folder=Remote(f"memory://{uuid.uuid4().hex}/run"))
    with storage.fetched(setup.folder / "references") as references:
        for file in references.iterdir():
            storage.write(bucket.folder / "references" / file.name, file.read_bytes())
    whole = run_trial(setup, "again", EIGHT_BITS)
    begun = TrialStages(bucket, "again", EIGHT_BITS, FakeMeasure())
    for _ in range(2):
        begun.next_report()
    assert storage.names(bucket.trial_folder("again")) == ["checkpoint.pt"]
    assert shown(run_trial(bucket, "again", EIGHT_BITS)) == shown(whole)
    names = storage.names(bucket.variant_folder("again"))
    assert names == sorted(p.name for p in setup.variant_folder("again").iterdir())
    x = setup.task.example_input(3)
    here, there = (load_variant(s.variant_folder("again"))(x) for s in (setup, bucket))
    assert torch.equal(here, there)
