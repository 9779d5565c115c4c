"""Nests as what runtimes take, and what they give as nests again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from raysearch.trainables.export.feeds import feed_of, function_of


def test_names_and_types_are_those_of_the_file() -> None:
    assert list(feed_of(torch.zeros(2, 3))) == ["input"]
    assert list(feed_of((torch.zeros(2), torch.zeros(2)))) == ["input_0", "input_1"]
    feed = feed_of({"ids": torch.ones(2, 4, dtype=torch.int64), "mask": torch.ones(2, 4, dtype=torch.bool)})
    assert {name: array.dtype for name, array in feed.items()} == {"ids": np.int64, "mask": np.bool_}


def test_arrays_are_contiguous() -> None:
    x = torch.arange(6.0).view(2, 3).t()
    (array,) = feed_of(x).values()
    assert array.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(array, x.numpy())


def test_a_type_that_no_runtime_takes_is_named() -> None:
    with pytest.raises(ValueError, match=r"x is of type torch\.bfloat16.*give float32, float16 or integers"):
        feed_of({"x": torch.zeros(2, dtype=torch.bfloat16)})


def test_outputs_have_the_form_that_the_network_gives() -> None:
    def compiled(feed: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        return feed["x"] + 1, feed["x"] * 2

    like = {"sum": torch.zeros(9, 1), "none": None, "rest": (torch.zeros(9),)}
    found = function_of(compiled, like)({"x": torch.tensor([1.0, 2.0])})
    assert found["sum"].tolist() == [2.0, 3.0]
    assert found["none"] is None
    assert found["rest"][0].tolist() == [2.0, 4.0]
