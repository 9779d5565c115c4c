"""LeNet-5 with rectifiers and max pooling, as studies of pruning use it: 61,470 weights for MNIST.

References:
    LeCun, Y., Bottou, L., Bengio, Y., & Haffner, P. (1998). Gradient-based learning applied to document
    recognition.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from raysearch.trainables.models.sizes import check_sizes


def build_lenet5(in_channels: int = 1, classes: int = 10) -> nn.Sequential:
    """A network for images of 28 x 28, freshly initialised from torch's generator.

    Its layers are "conv1" (6 filters of 5 x 5), "conv2" (16 of 5 x 5), "linear1" (120), "linear2" (84) and
    "head".

    Args:
        in_channels: of the images.
        classes: how many logits.

    Raises:
        ValueError: fewer than 1 channel or 2 classes.
    """
    check_sizes(in_channels, classes)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(in_channels, 6, 5, padding=2),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        linear1=nn.Linear(400, 120),
        relu3=nn.ReLU(),
        linear2=nn.Linear(120, 84),
        relu4=nn.ReLU(),
        head=nn.Linear(84, classes),
    )
    return nn.Sequential(layers)
