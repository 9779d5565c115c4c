import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raysearch.search_spaces.pruning.one_shot import LayerPruning, OneShotPlan
from raysearch.trainables.pruning.one_shot import compress, inference_ms, measure_compressed, nonzero_rate


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 10, 3),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(360, 20),
        nn.ReLU(),
        nn.Linear(20, 10),
    ]
    return nn.Sequential(*layers).eval()


CONV, HIDDEN, HEAD = 0, 4, 6


def zeros(tensor):
    return int((tensor == 0).sum())


@pytest.mark.parametrize("criterion", ["random", "l1_unstructured"])
def test_unstructured_pruning_zeros_exactly_the_share_of_each_layer(net, criterion):
    plan = OneShotPlan(
        convolutional=LayerPruning("weights", 0.4, criterion), linear=LayerPruning("weights", 0.25, criterion)
    )
    pruned, rate = compress(net, plan)
    assert zeros(pruned[CONV].weight) == 36
    assert zeros(pruned[HIDDEN].weight) == 1800
    assert zeros(pruned[HEAD].weight) == 50
    total = 90 + 10 + 7200 + 20 + 200 + 10
    assert rate == pytest.approx(1 - (36 + 1800 + 50) / total)
    assert nonzero_rate(net) == 1.0


def test_l1_takes_the_smallest_weights(net):
    pruned, _ = compress(net, OneShotPlan(linear=LayerPruning("weights", 0.5, "l1_unstructured")))
    kept = pruned[HIDDEN].weight != 0
    assert net[HIDDEN].weight.abs()[~kept].max() <= net[HIDDEN].weight.abs()[kept].min()
    assert torch.equal(pruned[HIDDEN].weight[kept], net[HIDDEN].weight[kept])
    assert zeros(pruned[CONV].weight) == 0


def test_structured_pruning_takes_whole_channels_of_the_smallest_norm(net):
    how = LayerPruning("weights", 0.3, "l2_structured")
    pruned, _ = compress(net, OneShotPlan(convolutional=how, linear=how))
    gone = (pruned[CONV].weight == 0).flatten(1).all(1)
    assert gone.sum() == 3
    assert zeros(pruned[CONV].weight) == 27
    norms = net[CONV].weight.flatten(1).norm(dim=1)
    assert norms[gone].max() <= norms[~gone].min()
    assert (pruned[HIDDEN].weight == 0).all(1).sum() == 6
    assert (pruned[HEAD].weight == 0).all(0).sum() == 6, "the head loses inputs"
    assert (pruned[HEAD].weight == 0).all(1).sum() == 0, "not classes"


@pytest.mark.parametrize("criterion", ["random", "l1_unstructured", "l2_structured"])
def test_biases_are_pruned_only_where_asked(net, criterion):
    for pruned, expected in (("weights", 0), ("weights_and_biases", 5)):
        module, _ = compress(net, OneShotPlan(convolutional=LayerPruning(pruned, 0.5, criterion)))
        assert zeros(module[CONV].bias) == expected
        assert zeros(module[HIDDEN].bias) == 0
    if criterion == "l2_structured":
        assert torch.equal(module[CONV].bias == 0, (module[CONV].weight == 0).flatten(1).all(1))


def test_a_whole_share_prunes_all_and_none_nothing(net):
    everything = LayerPruning("weights_and_biases", 1, "l1_unstructured")
    assert compress(net, OneShotPlan(everything, everything))[1] == 0.0
    assert compress(net, OneShotPlan(LayerPruning("weights", 0, "random")))[1] == 1.0


def test_random_pruning_follows_the_seed_and_leaves_torchs_generator_alone(net):
    plan = OneShotPlan(linear=LayerPruning("weights", 0.5, "random"))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (compress(net, plan, seed)[0][HEAD].weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dynamic_quantisation_changes_little_and_only_linear_layers(net):
    x = torch.randn(16, 1, 8, 8)
    quantised, rate = compress(net, OneShotPlan(quantization="dynamic"))
    assert rate == 1.0
    assert isinstance(quantised[CONV], nn.Conv2d)
    assert not isinstance(quantised[HIDDEN], nn.Linear)
    assert isinstance(net[HIDDEN], nn.Linear)
    with torch.inference_mode():
        difference = (quantised(x) - net(x)).abs().max()
        assert 0 < difference < 0.05 * net(x).abs().max()


def test_measuring(net):
    x = torch.randn(12, 1, 8, 8)
    with torch.inference_mode():
        examples = TensorDataset(x, net(x).argmax(1))
    assert measure_compressed(net, OneShotPlan(), examples) == {"nonzero_rate": 1.0, "accuracy": 1.0}
    timed = measure_compressed(net, OneShotPlan(), examples, timed=True)
    assert timed["inference_ms"] > 0
    assert inference_ms(net, x, repeats=3) > 0


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="no linear or convolutional layer"):
        nonzero_rate(nn.ReLU())
