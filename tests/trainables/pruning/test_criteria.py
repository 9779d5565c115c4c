import pytest
import torch
import torch_pruning as tp
from torch import nn

from raysearch.trainables.pruning.criteria import channel_scores, lamp


def group():
    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).view(2, 3, 1, 1))
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 1, 4, 4))
    return graph.get_pruning_group(model[0], tp.prune_conv_out_channels, [0, 1, 2])


def layers(group):
    return [dep.layer for dep, _ in group if hasattr(dep.layer, "weight")]


def test_magnitude_is_the_mean_squared_norm_over_the_group():
    assert channel_scores(group(), "magnitude", 3).tolist() == [8.5, 2.0, 5.0]


def test_random_scores_follow_the_seed():
    torch.manual_seed(0)
    first = channel_scores(group(), "random", 3)
    assert not torch.equal(first, channel_scores(group(), "random", 3))


def test_an_unknown_criterion():
    with pytest.raises(ValueError, match="'tailor' is not one of random, magnitude, taylor"):
        channel_scores(group(), "tailor", 3)


def test_gradients_weigh_the_weights():
    found = group()
    first, second = layers(found)
    first.weight.grad = torch.tensor([-2.0, 0.0, 1.0]).view(3, 1, 1, 1)
    second.weight.grad = torch.tensor([[1.0, 5.0, 5.0], [5.0, 5.0, 3.0]]).view(2, 3, 1, 1)
    assert channel_scores(found, "taylor", 3).tolist() == [(2 + 4) / 2, 0, (3 + 3) / 2]
    first.weight.grad.abs_()
    assert channel_scores(found, "hessian", 3).tolist() == [(2 + 16) / 2, 0, (9 + 3) / 2]


def test_lamp_and_the_geometric_median():
    # By layer: 1, 4, 9 over what is as large; 16, 0, 1 likewise.
    assert channel_scores(group(), "lamp", 3).tolist() == pytest.approx(
        [(1 / 14 + 1) / 2, (4 / 13 + 0) / 2, (1 + 1 / 17) / 2]
    )
    # Distances between |1|, |2|, |3|; between columns (4, 0), (0, 0), (0, 1).
    far = 17**0.5
    assert channel_scores(group(), "fpgm", 3).tolist() == pytest.approx(
        [(3 + 4 + far) / 2, (2 + 4 + 1) / 2, (3 + far + 1) / 2]
    )


def test_lamp_of_zeros_is_zero():
    assert lamp(torch.tensor([0.0, 2.0, 0.0, 2.0])).tolist() == [0, 0.5, 0, 1]
    assert lamp(torch.zeros(3)).tolist() == [0, 0, 0]


def normalised():
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    graph = tp.DependencyGraph().build_dependency(model, torch.zeros(1, 1, 4, 4))
    return model, graph.get_pruning_group(model[0], tp.prune_conv_out_channels, [0, 1, 2])


def test_batch_norms_scales_and_magnitude_where_they_say_nothing():
    model, found = normalised()
    untrained = channel_scores(found, "batch_norm_scale", 3)
    assert torch.equal(untrained, channel_scores(found, "magnitude", 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -2.0, 1.0]))
    assert channel_scores(found, "batch_norm_scale", 3).tolist() == [0.5, 2, 1]
    assert torch.equal(
        channel_scores(group(), "batch_norm_scale", 3), channel_scores(group(), "magnitude", 3)
    )


def test_scores_that_are_no_numbers_are_magnitudes():
    found = group()
    for layer in layers(found):
        layer.weight.grad = torch.full_like(layer.weight, torch.nan)
    assert channel_scores(found, "taylor", 3).tolist() == [8.5, 2.0, 5.0]
