"""What becomes of a network from epoch to epoch: steps of pruning, stages of bits, inputs that grow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trial_setup import ALL8, PARENT, FakeMeasure, make_setup

from raysearch import load_variant
from raysearch import search_spaces as spaces
from raysearch.networks.groups import prunable_groups
from raysearch.trainables.quantization.quantizer import Quantizer
from raysearch.trainables.setup import Report, TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.training.resizing import size_at

RATIOS = {"stem": 0.5, "stage1": 0.5}
ARCHITECTURE = {**PARENT["architecture"], "stem": {"width": 16}}
ARCHITECTURE["stage1"] = {**PARENT["architecture"]["stage1"], "width": 16}
LOW = {part: {**bits, "weights": 4} for part, bits in ALL8.items()}


@pytest.fixture
def setup(tmp_path: Path) -> TrialSetup:
    space = spaces.bind(
        {
            "architecture": ARCHITECTURE,
            "pruning": spaces.channel_pruning(multiple=2, steps=(1, 3))
            | spaces.weight_sparsity(steps=(1, 3)),
            "bits": spaces.bit_widths(weights=(4, 8, 32), activations=(8, 32)),
        },
        parent=PARENT,
    )
    return replace(make_setup(tmp_path, epochs=4), space=space)


def config(pruning: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    found = {"architecture": ARCHITECTURE, "training": PARENT["training"], **more}
    return {**found, "pruning": {"multiple": 2, **pruning}} if pruning else found


def widths(network: nn.Module) -> list[int]:
    return list(prunable_groups(network, torch.zeros(2, 1, 8, 8)).values())


def through(setup: TrialSetup, name: str, given: dict[str, Any], *, cut: int | None = None) -> list[Report]:
    """All reports of a trial, which is interrupted after some of them and built again."""
    stages = TrialStages(setup, name, given, FakeMeasure())
    for _ in range(cut or 0):
        stages.next_report()
    if cut:
        stages = TrialStages(setup, name, given, FakeMeasure())
    return [stages.next_report() for _ in range(setup.epochs + 2)]


def test_channels_go_in_steps_and_what_is_measured_has_lost_all(setup: TrialSetup) -> None:
    given = config({"ratios": RATIOS, "steps": 3})
    stages = TrialStages(setup, "steps", given, FakeMeasure())
    first = stages.next_report()
    at_once = TrialStages(setup, "once", config({"ratios": RATIOS}), FakeMeasure())
    assert first.values["params"] == at_once.next_report().values["params"]
    seen = [widths(stages.module)]
    for _ in range(setup.epochs):
        stages.next_report()
        seen.append(widths(stages.module))
    assert seen[0] == seen[-1] == widths(at_once.module)
    assert [sum(each) for each in seen[1:]] == [30, 24, 24, 24], "70, 96 and 100 % of a half of 48, by twos"
    stages.next_report()
    rebuilt = load_variant(setup.variant_folder("steps"))
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(rebuilt(x), stages.course.deployed()(x))


@pytest.mark.parametrize("cut", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 4))])
@pytest.mark.parametrize(
    "given",
    [
        config({"ratios": RATIOS, "steps": 3}),
        config(
            {"sparsity": {"pattern": "unstructured", "ratios": {"stage1": 0.8}, "steps": 2}},
            bits=ALL8,
            training={**PARENT["training"], "ema": 0.9},
        ),
        config(bits=LOW, training={**PARENT["training"], "bit_stages": 2, "quantized_share": 0.75}),
        config(training={**PARENT["training"], "first_size": 0.5}),
    ],
)
def test_a_trial_that_was_interrupted_ends_as_if_it_had_not_been(
    setup: TrialSetup, given: dict[str, Any], cut: int
) -> None:
    whole, again = through(setup, "whole", given), through(setup, "again", given, cut=cut)
    assert [r.values for r in again] == [r.values for r in whole]


def test_weights_become_zero_in_steps(setup: TrialSetup) -> None:
    sparsity = {"pattern": "unstructured", "ratios": {"stage1": 0.8}, "steps": 3}
    stages = TrialStages(setup, "zeros", config({"sparsity": sparsity}), FakeMeasure())
    found = []
    for _ in range(setup.epochs + 1):
        stages.next_report()
        weight = stages.module.get_submodule("stage1.0.conv1").weight
        found.append(round(1 - float(weight.count_nonzero()) / weight.numel(), 2))
    assert found[0] == found[-1] == 0.8
    assert found[1:] == sorted(found[1:])
    assert len(set(found[1:])) == 3


def bits_of(network: nn.Module) -> set[int]:
    return {m.bits for m in network.modules() if isinstance(m, Quantizer) and m.channels is not None}


def test_bits_are_lowered_by_stages(setup: TrialSetup) -> None:
    training = {**PARENT["training"], "bit_stages": 2, "quantized_share": 0.75}
    stages = TrialStages(setup, "low", config(bits=LOW, training=training), FakeMeasure())
    seen = []
    for _ in range(setup.epochs + 1):
        stages.next_report()
        seen.append(bits_of(stages.module))
    assert seen == [set(), set(), {8}, {4}, {4}]
    rates = [stages.schedule.rate(epoch, 1.0) for epoch in range(1, setup.epochs + 1)]
    assert rates[0] == rates[1] == rates[3] == 0, "each part ends with a rate of its own"


def test_inputs_grow_in_the_float_part(setup: TrialSetup) -> None:
    training = {**PARENT["training"], "first_size": 0.5}
    stages = TrialStages(setup, "small", config(training=training, bits=ALL8), FakeMeasure())
    seen: list[int] = []

    def look(module: nn.Module, given: tuple[torch.Tensor]) -> None:
        if module.training:
            seen.append(given[0].shape[-1])

    stages.module.register_forward_pre_hook(look)
    for _ in range(4):
        stages.next_report()
    assert list(dict.fromkeys(seen)) == [4, 8]


def test_inputs_are_whole_in_the_last_third_of_the_float_part() -> None:
    assert [size_at(0.5, epoch, 9) for epoch in range(1, 10)] == [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1, 1]
    assert [size_at(0.5, epoch, 2) for epoch in (1, 2)] == [0.5, 1]
    assert size_at(0.5, 1, 1) == 1


@pytest.mark.parametrize(
    ("channels", "weights"), [(2, 3), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((1, 3), (3, 1)))]
)
def test_heads_go_once_where_weights_go_in_other_steps(tmp_path: Path, channels: int, weights: int) -> None:
    plan = {"family": "vit", "blocks": 2, "patch": 4, "heads": 3, "head_width": 8, "activation": "relu"}
    plan |= {f"block{i}": {"mlp_ratio": 2} for i in (1, 2)}
    pruning = spaces.channel_pruning(steps=(1, 3)) | spaces.weight_sparsity(steps=(1, 3))
    space = spaces.bind({"architecture": plan, "pruning": pruning}, parent=PARENT)
    setup = replace(make_setup(tmp_path, epochs=4), space=space)
    sparsity = {"pattern": "unstructured", "ratios": {"block1": 0.5}, "steps": weights}
    given = {
        "architecture": plan,
        "training": PARENT["training"],
        "pruning": {"ratios": {"block1": 0.5, "block2": 0.5}, "steps": channels, "sparsity": sparsity},
    }
    whole, again = through(setup, "whole", given), through(setup, "again", given, cut=3)
    assert [r.values for r in again] == [r.values for r in whole]
