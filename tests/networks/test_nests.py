"""Nests: the tensors in them, calls with them, names for them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raysearch.networks import nests


def test_a_model_is_called_by_the_form_of_its_inputs() -> None:
    def model(*args: Tensor, **kwargs: Tensor) -> tuple[int, list[str]]:
        return len(args), sorted(kwargs)

    x = torch.zeros(2)
    assert nests.call(model, x) == (1, [])
    assert nests.call(model, (x, x)) == (2, [])
    assert nests.call(model, [x, x, x]) == (3, [])
    assert nests.call(model, {"ids": x, "mask": x}) == (0, ["ids", "mask"])


def test_batches_are_joined_leaf_by_leaf() -> None:
    batches = [{"a": torch.full((n, 2), n), "b": (torch.zeros(n), None)} for n in (1, 3)]
    joined = nests.concatenate(batches)
    assert joined["a"].shape == (4, 2)
    assert joined["b"][0].shape == (4,)
    assert joined["b"][1] is None
    assert nests.concatenate([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1.0, 2.0]


def test_the_size_of_a_batch_is_that_of_its_first_tensor_with_an_axis() -> None:
    assert nests.batch_size({"scale": torch.tensor(1.0), "x": torch.zeros(5, 2)}) == 5
    with pytest.raises(ValueError, match="holds no tensor with an axis"):
        nests.batch_size({"scale": torch.tensor(1.0)})


def test_names_are_the_keys_and_places_of_a_nest() -> None:
    x = torch.zeros(1)
    assert nests.names(x, "input") == ["input"]
    assert nests.names((x, x), "input") == ["input_0", "input_1"]
    assert nests.names({"ids": x, "past": [x, x]}, "input") == ["ids", "past_0", "past_1"]
    assert nests.names(OrderedDict(logits=x), "output") == ["logits"]


def test_tensors_are_mapped_in_place_of_each() -> None:
    nest = {"x": torch.ones(2), "n": 3, "y": [torch.ones(1)]}
    doubled = nests.map_tensors(lambda t: 2 * t, nest)
    assert doubled["n"] == 3
    assert [t.sum().item() for t in nests.tensors(doubled)] == [4.0, 2.0]
    assert nests.to_device(nest, None) is nest


def test_a_model_without_parameters_is_on_the_cpu() -> None:
    assert nests.device_of(nn.ReLU()).type == "cpu"


@dataclass
class Inner:
    hidden: Tensor


@dataclass
class Outputs:
    """An output class that nobody has told torch of."""

    logits: Tensor
    inner: Inner | None = None


def test_the_tensors_of_a_dataclass_are_found_at_any_depth() -> None:
    outputs = nests.call(lambda x: Outputs(x, Inner(2 * x)), torch.ones(3))
    assert [float(t.sum()) for t in nests.tensors(outputs)] == [3, 6]
    joined = nests.concatenate([outputs, outputs])
    assert isinstance(joined, Outputs)
    assert joined.inner is not None
    assert joined.inner.hidden.tolist() == [2.0] * 6
    assert nests.names(outputs, "output") == ["logits", "inner_hidden"]
    assert not nests.see_into(outputs)


class Watched(Tensor):
    """A tensor that notes how it would be copied to a GPU, and refuses other ways."""

    pinned = False

    def pin_memory(self) -> Tensor:  # type: ignore[override]
        found = self.as_subclass(Watched)
        found.pinned = True
        return found

    def to(self, device: torch.device, non_blocking: bool = False) -> Any:  # type: ignore[override]
        to_gpu = torch.device(device).type == "cuda"
        assert self.pinned is to_gpu, "pinned memory is for copies to a GPU"
        assert non_blocking is to_gpu, "values on the CPU are read at once"
        return self.device.type, str(device)


def test_a_gpu_is_fed_through_pinned_memory_without_waiting() -> None:
    nest = {
        "x": torch.ones(2).as_subclass(Watched),
        "names": ["a"],
        "y": (torch.ones(1).as_subclass(Watched),),
    }
    there = nests.to_device(nest, "cuda:1")
    assert there == {"x": ("cpu", "cuda:1"), "names": ["a"], "y": (("cpu", "cuda:1"),)}
    assert nests.to_device(nest, torch.device("cpu"))["x"] == ("cpu", "cpu")
    assert nests.to_device(nest, None) is nest


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
def test_what_is_copied_to_a_gpu_and_back_is_the_same() -> None:
    nest = {"x": torch.randn(1000, 100), "ids": torch.arange(5), "sparse": torch.eye(3).to_sparse()}
    there = nests.to_device(nest, "cuda")
    assert all(t.is_cuda for t in nests.tensors(there))
    assert nests.to_device(there, "cuda")["x"] is there["x"]
    back = nests.to_device(there, "cpu")
    assert torch.equal(back["x"], nest["x"])
    assert torch.equal(back["ids"], nest["ids"])
    assert torch.equal(back["sparse"].to_dense(), torch.eye(3))
