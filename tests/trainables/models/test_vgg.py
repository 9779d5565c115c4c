import pytest
import torch
from torch import nn

from raysearch.trainables.models.vgg import build_vgg


@pytest.mark.parametrize(
    ("stages", "hidden", "size"), [(((4, 4), (8,)), (16,), 8), (((4,),) * 5, (), 8), (((4,),), (6, 5), 7)]
)
def test_it_maps_images_to_logits(stages, hidden, size):
    net = build_vgg(stages, hidden, in_channels=3, classes=7)
    assert net(torch.randn(2, 3, size, size)).shape == (2, 7)
    convolutions = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [width for widths in stages for width in widths]
    assert [m.out_features for m in net.modules() if isinstance(m, nn.Linear)] == [*hidden, 7]


def test_vgg16_has_its_thirteen_convolutions_with_biases():
    net = build_vgg(((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3), (), 3, 10)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13
    assert all(m.bias is not None for m in convolutions)


def test_gradients_reach_every_weight():
    net = build_vgg(((4,), (4,)), (8,), 1, 3)
    net(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), (), 1, 10), "stages is"),
        ((((4,), ()), (), 1, 10), "at least one convolution"),
        ((((4, 0),), (), 1, 10), "every width"),
        ((((4,),), (0,), 1, 10), "every width"),
        ((((4,),), (), 0, 10), "0 input channels"),
        ((((4,),), (), 1, 1), "1 classes"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_vgg(*arguments)
