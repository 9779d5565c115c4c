from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from raysearch.basics.failures import UserError
from raysearch.trainables.models.weights_file import is_file, load_weights, read_weights


def network(classes: int = 3, width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width), nn.Linear(width, classes))


def test_files_are_told_from_names() -> None:
    assert is_file("a.pth")
    assert is_file("weights/resnet18")
    assert is_file(Path("resnet18"))
    assert not is_file("DEFAULT")
    assert not is_file("IMAGENET1K_V1")


@pytest.mark.parametrize("inside", ["", "state_dict", "model"])
def test_weights_of_as_many_classes_are_taken_whole(tmp_path: Path, inside: str) -> None:
    given, model, path = network(), network(), tmp_path / "w.pt"
    torch.save({inside: given.state_dict(), "epoch": 3} if inside else given.state_dict(), path)
    assert load_weights(model, path, "2", 3)
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), model.parameters(), strict=True))


def test_of_other_classes_the_last_layer_stays_fresh(tmp_path: Path) -> None:
    given, model, path = network(7), network(3), tmp_path / "w.safetensors"
    save_file(given.state_dict(), path)
    before = model[2].weight.clone()
    assert not load_weights(model, path, "2", 3)
    assert torch.equal(model[0].weight, given[0].weight)
    assert torch.equal(model[2].weight, before)


def test_a_counter_that_older_files_lack_is_not_missed(tmp_path: Path) -> None:
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pth")
    assert load_weights(network(), tmp_path / "w.pth", "2", 3)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(nn.Linear(5, 4).state_dict(), path)
    with pytest.raises(UserError, match=r"w.pth lacks 0.weight, 0.bias, .* and 3 more: give the weights of"):
        load_weights(network(), path, "2", 3)
    torch.save({**network().state_dict(), "extra": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="has what the model lacks, extra"):
        load_weights(network(), path, "2", 3)
    torch.save(network(width=6).state_dict(), path)
    with pytest.raises(UserError, match=r"has another shape in 0.weight, 0.bias, .* and 2 more"):
        load_weights(network(), path, "2", 3)


class Harmful:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("executed",)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"there is no file .*missing\.pth"):
        read_weights(tmp_path / "missing.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            read_weights(tmp_path / name)
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "empty.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds no tensors by their names"):
        read_weights(tmp_path / "list.pt")
    (tmp_path / "harm.pt").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "harm.pt")
    assert "executed" not in capsys.readouterr().out
