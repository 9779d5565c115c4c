"""A trial trains on the GPU that it was given, and what it leaves runs on the CPU; needs no Ray."""

from __future__ import annotations

import pytest
import torch

from raysearch import tasks
from raysearch.backends import get, spec_of
from raysearch.backends.measurement.service import MeasurementService
from raysearch.search_spaces.space import Space
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.variant import load_variant

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine"),
]

EPOCHS = 3
STAGE = {"depth": 1, "width": 16, "kernel": 3, "block": "basic"}
PARENT = {
    "architecture": {
        "family": "resnet",
        "stages": 2,
        "stem": {"width": 16},
        "stage1": STAGE,
        "stage2": STAGE,
    },
    "training": {"lr": 5e-3},
}
PARTS = ("stem", "stage1", "stage2", "head")
CONFIG = {
    **PARENT,
    "pruning": {"criterion": "magnitude", "ratios": {"stage1": 0.5, "stage2": 0.5}},
    "bits": {part: {"own": True, "weights": 4, "activations": 8} for part in PARTS},
    "teacher": {"name": "parent", "temperature": 3.0, "weight": 0.5},
}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Makes trials of one study whose parent is trained already."""
    service = MeasurementService()

    def measure(target, path, example, *, reference=False, again=False, description=None):
        method = service.set_reference if reference else service.measure
        return method(spec_of(target), path.read_bytes(), example)

    folder = tmp_path_factory.mktemp("run")
    setup = TrialSetup(
        tasks.digits(), Space({}), (get("onnxruntime-cpu"),), EPOCHS, folder, references={"parent": PARENT}
    )

    def start(name, config, device="cuda"):
        return TrialStages(setup, name, config, measure, device)

    reports = run(start("parent", PARENT))
    assert reports[-1].values["accuracy"] > 0.8
    yield start
    service.close()


def run(trial):
    return [trial.next_report() for _ in range(EPOCHS + 2)]


def test_a_pruned_quantised_distilled_trial(make):
    trial = make("compressed", CONFIG)
    reports = []
    for step in range(EPOCHS + 2):
        before = torch.cuda.memory_allocated()
        reports.append(trial.next_report())
        if step <= EPOCHS:
            assert all(p.is_cuda for p in trial.module.parameters()), f"left the GPU at step {step}"
            assert before > 0
    assert reports[-1].values["accuracy"] > 0.5
    variant = load_variant(trial.setup.variant_folder("compressed"))
    assert not any(p.is_cuda for p in variant.parameters())


def test_it_goes_on_from_its_checkpoint(make):
    whole = run(make("whole", CONFIG))
    first = make("cut", CONFIG)
    for _ in range(3):
        first.next_report()
    rest = run(make("cut", CONFIG))
    assert [r.step for r in rest] == [r.step for r in whole]
    # CUDA kernels sum in no fixed order, so the two agree closely, not to the bit.
    assert rest[-1].values["accuracy"] == pytest.approx(whole[-1].values["accuracy"], abs=0.05)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_and_all_other_settings(make, precision):
    if precision == "bf16" and not torch.cuda.is_bf16_supported(False):
        pytest.skip("this GPU has no bfloat16")
    training = {"precision": precision, "ema": 0.9, "checkpointing": True, "accumulate": 2, "mixup": 0.2}
    config = {**CONFIG, "training": {"lr": 5e-3, "layer_lr": {"stem": 0.5}, **training}}
    reports = run(make(precision, config))
    assert reports[-1].values["accuracy"] > 0.5
    first = make(f"cut-{precision}", config)
    for _ in range(3):
        first.next_report()
    again = run(make(f"cut-{precision}", config))
    assert again[-1].values["accuracy"] == pytest.approx(reports[-1].values["accuracy"], abs=0.05)
