import sys

import pytest
import torch

from raysearch.trainables.models.zoo import torchvision_model


@pytest.fixture
def _torchvision():
    pytest.importorskip("torchvision.models")


@pytest.mark.usefixtures("_torchvision")
def test_a_model_by_name():
    model = torchvision_model("squeezenet1_1", 7).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.usefixtures("_torchvision")
def test_unknown_names():
    with pytest.raises(ValueError, match="no model 'resnet81'; did you mean 'resnet"):
        torchvision_model("resnet81", 7)
    with pytest.raises(ValueError, match="no weights 'BEST' for 'resnet18'"):
        torchvision_model("resnet18", 7, weights="BEST")


def test_without_torchvision_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ValueError, match=r'pip install "raysearch\[vision\]"'):
        torchvision_model("resnet18", 7)
