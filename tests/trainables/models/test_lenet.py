import pytest
import torch

from raysearch.trainables.models.lenet import build_lenet5


def test_it_has_the_studys_weights():
    net = build_lenet5()
    assert sum(p.numel() for n, p in net.named_parameters() if n.endswith("weight")) == 61_470
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(("arguments", "message"), [((0, 10), "0 input channels"), ((1, 1), "1 classes")])
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_lenet5(*arguments)
