from __future__ import annotations

import sys
from types import ModuleType

import pytest

from raysearch.trainables.data.download import torchvision_datasets


def test_torchvision_is_given_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    whole.datasets = datasets  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", whole)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    assert torchvision_datasets() is datasets


def test_where_it_is_missing_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchvision", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"needs torchvision.*pip install \"raysearch\[vision\]\""):
        torchvision_datasets()
