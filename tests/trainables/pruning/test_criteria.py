import pytest
import torch
import torch_pruning as tp
from torch import nn

from raysearch.trainables.pruning.criteria import channel_scores


def group():
    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).view(2, 3, 1, 1))
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 1, 4, 4))
    return graph.get_pruning_group(model[0], tp.prune_conv_out_channels, [0, 1, 2])


def test_magnitude_is_the_mean_squared_norm_over_the_group():
    assert channel_scores(group(), "magnitude", 3).tolist() == [8.5, 2.0, 5.0]


def test_random_scores_follow_the_seed():
    torch.manual_seed(0)
    first = channel_scores(group(), "random", 3)
    assert not torch.equal(first, channel_scores(group(), "random", 3))


def test_an_unknown_criterion():
    with pytest.raises(ValueError, match="'taylor' is not 'magnitude' or 'random'"):
        channel_scores(group(), "taylor", 3)
