import sys

import pytest
import torch

from raysearch.trainables.models.zoo import torchvision_model, torchvision_trained


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


@pytest.mark.usefixtures("_torchvision")
@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5"])
def test_weights_of_a_local_file(name, tmp_path):
    given, path = torchvision_model(name, 9).eval(), tmp_path / "w.pth"
    torch.save(given.state_dict(), path)
    x = torch.randn(1, 3, 64, 64)
    model, trained = torchvision_trained(name, 9, path)
    assert trained
    assert torch.equal(model.eval()(x), given(x))
    other, trained = torchvision_trained(name, 4, str(path))
    assert not trained
    assert other.eval()(x).shape == (1, 4)
    first = next(iter(given.state_dict()))
    assert torch.equal(other.state_dict()[first], given.state_dict()[first])


@pytest.mark.usefixtures("_torchvision")
def test_auxiliary_heads_are_replaced_too(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(torchvision_model("googlenet", 9).state_dict(), path)
    model, trained = torchvision_trained("googlenet", 4, path)
    assert not trained
    assert model.aux1.fc2.out_features == 4


@pytest.mark.usefixtures("_torchvision")
def test_weights_of_another_model(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(torchvision_model("squeezenet1_1", 9).state_dict(), path)
    with pytest.raises(ValueError, match=r"lacks conv1.0.weight, .* give the weights of this very model"):
        torchvision_model("shufflenet_v2_x0_5", 9, path)
    with pytest.raises(ValueError, match="there is no file"):
        torchvision_model("squeezenet1_1", 9, "missing.pth")


def test_without_torchvision_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ValueError, match=r'pip install "raysearch\[vision\]"'):
        torchvision_model("resnet18", 7)
