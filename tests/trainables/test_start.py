"""What a trial begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trial_setup import PARENT, make_setup, small_task

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.search_spaces.training import TrainingPlan
from raysearch.trainables.setup import LONGER, Kept, TrialSetup
from raysearch.trainables.start import first_network, schedule_of, taken_over
from raysearch.trainables.task import accuracy
from raysearch.trainables.training.schedule import Schedule, cycles

PLAN = TrainingPlan()


def of_metrics(folder: Path, names: str, maximize: Mapping[str, bool]) -> TrialSetup:
    task = small_task(metrics=dict.fromkeys(names.split(), accuracy))
    return replace(make_setup(folder, task, epochs=3), references={"parent": PARENT}, maximize=maximize)


@pytest.mark.parametrize(
    ("names", "maximize", "schedule"),
    [
        ("rmse r2", {"r2": True}, Schedule(cycles(3), "r2", True)),  # nothing says which way rmse is better
        ("rmse r2", {"rmse": False}, Schedule(cycles(3), "rmse", False)),
        ("rmse", {}, Schedule((3,))),
        ("accuracy", {}, Schedule(cycles(3), "accuracy", True)),
    ],
)
def test_a_parent_is_judged_by_a_metric_whose_direction_is_known(
    tmp_path: Path, names: str, maximize: dict[str, bool], schedule: Schedule
) -> None:
    assert schedule_of(of_metrics(tmp_path, names, maximize), "parent", PLAN, 3) == schedule


def test_what_starts_from_the_parent_has_one_float_and_one_quantised_part(tmp_path: Path) -> None:
    setup = replace(of_metrics(tmp_path, "accuracy", {}), references={"parent": PARENT, LONGER: PARENT})
    assert schedule_of(setup, "0000", PLAN, 2) == schedule_of(setup, LONGER, PLAN, 2) == Schedule((2, 3))
    assert schedule_of(replace(setup, parent_epochs=7), "parent", PLAN, 3) == Schedule((7,))


def test_a_network_begins_alike_each_time_and_with_the_parents_weights(tmp_path: Path) -> None:
    setup = make_setup(tmp_path)
    plan = setup.space.variant(PARENT).plan
    networks = [first_network(setup, "0000", plan, seed) for seed in (1, 1, 2)]
    assert [(n.whole, n.inherited) for n in networks] == [(False, None)] * 3  # there is no parent yet
    first, again, other = (network.module.state_dict() for network in networks)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("content", [None, b"", b"no tensors at all"])
def test_a_file_that_is_gone_or_damaged_is_not_taken_over(tmp_path: Path, content: bytes | None) -> None:
    weights = tmp_path / "weights.safetensors"
    if content is not None:
        weights.write_bytes(content)
    setup = replace(make_setup(tmp_path), kept={"parent": Kept(str(weights), {})})
    network = first_network(setup, "parent", setup.space.variant(PARENT).plan, 0).module
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert taken_over(setup, "parent", network) is None
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_storage_that_does_not_answer_has_nobody_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = replace(make_setup(tmp_path), kept={"parent": Kept(str(tmp_path / "weights"), {})})

    def away(place: object) -> bytes:
        raise StorageError("s3://bucket cannot be used: no answer (tried for 300 s)")

    monkeypatch.setattr(storage, "read", away)
    network = first_network(setup, "parent", setup.space.variant(PARENT).plan, 0).module
    with pytest.raises(StorageError):
        taken_over(setup, "parent", network)
