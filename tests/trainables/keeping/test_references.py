"""Weights that are read are those that were written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from trial_setup import make_setup

from raysearch.trainables.keeping.references import (
    LostReference,
    read_weights,
    reference_parts,
    reference_weights,
    write_weights,
)
from raysearch.trainables.setup import TrialSetup

WEIGHTS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "count": torch.tensor(3),
    "flags": torch.tensor([True, False]),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "none": torch.zeros(0, 2),
}


@pytest.fixture
def setup(tmp_path: Path) -> TrialSetup:
    setup = make_setup(tmp_path)
    setup.reference_weights("parent").parent.mkdir(parents=True)
    return setup


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    write_weights(tmp_path / "w", WEIGHTS)
    read = read_weights(tmp_path / "w")
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[name], WEIGHTS[name]) for name in WEIGHTS)


def test_those_of_an_earlier_version_have_no_digest(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w")
    assert torch.equal(read_weights(tmp_path / "w")["a"], WEIGHTS["a"])


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "text", "missing"])
def test_what_is_damaged_is_lost(setup: TrialSetup, damage: str) -> None:
    path = setup.reference_weights("parent")
    write_weights(path, WEIGHTS)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        flipped = whole[:-7] + bytes([whole[-7] ^ 64]) + whole[-6:]
        path.write_bytes({"flipped": flipped, "cut": whole[:-20], "empty": b"", "text": b"{" * 100}[damage])
    with pytest.raises(LostReference, match="the weights of the parent network are lost") as raised:
        reference_weights(setup, "parent")
    assert raised.value.name == "parent"


def test_parts_that_were_never_written_are_none_and_others_are_lost(setup: TrialSetup) -> None:
    assert reference_parts(setup) == {}
    made = replace(setup, made=frozenset({"parent"}))
    with pytest.raises(LostReference):
        reference_parts(made)
    setup.parts_file.write_text('{"accuracy": [0.5]}')
    assert reference_parts(made) == {"accuracy": [0.5]}
    for damaged in ("", "[1", "3", "null"):
        setup.parts_file.write_text(damaged)
        with pytest.raises(LostReference):
            reference_parts(setup)
