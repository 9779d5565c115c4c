from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from raysearch.trainables.data.digits import digits
from raysearch.trainables.evaluation import evaluate
from raysearch.trainables.masks.annealing import Annealing
from raysearch.trainables.masks.genetic import Genetic
from raysearch.trainables.masks.mask_search import RULES, apply_masks, search_masks, trade_off_masks
from raysearch.trainables.task import accuracy, cross_entropy

MNIST = Path(__file__).parents[4] / "shared" / "data" / "mnist"


def right(network, examples):
    return evaluate(network, examples, {"accuracy": accuracy})["accuracy"]


@pytest.fixture(scope="module")
def splits():
    return digits()


@pytest.fixture(scope="module")
def net(splits):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 48), nn.ReLU(), nn.Linear(48, 10)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    x, y = splits.train.tensors
    for _ in range(5):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            cross_entropy(net(x[part]), y[part]).backward()
            optimizer.step()
    return net.eval()


@pytest.mark.parametrize("method", [Annealing(), Genetic()])
def test_it_beats_the_largest_weights_on_images_it_has_not_seen(net, splits, method):
    found = search_masks(net, splits.train, 0.95, method=method, evaluations=300, size=300)
    rules = {rule: right(apply_masks(net, m.masks), splits.test) for rule, m in found.rules.items()}
    assert list(rules) == list(RULES)
    assert right(apply_masks(net, found.masks), splits.test) > max(rules.values()) + 0.1
    assert found.loss < min(m.loss for m in found.rules.values())
    assert found.evaluations <= 300
    total = sum(m.numel() for m in found.masks.values())
    for masks in (found, *found.rules.values()):
        assert sum(int(m.sum()) for m in masks.masks.values()) == total - round(0.95 * total)
        assert masks.sparsity == pytest.approx(0.95, abs=1e-4)


def test_chance_alone_finds_less_than_gradients_do(net, splits):
    by = {
        guided: search_masks(net, splits.train, 0.9, guided=guided, evaluations=200, size=200)
        for guided in (True, False)
    }
    assert by[True].loss < by[False].loss <= by[False].rules["magnitude"].loss


def test_where_the_rule_loses_nothing_it_stays(net, splits):
    found = search_masks(net, splits.train, 0.05, evaluations=60, size=100)
    rule = found.rules["magnitude"]
    assert found.loss <= rule.loss
    assert all(torch.equal(found.masks[n], rule.masks[n]) for n in found.masks)


def test_each_layers_own_sparsity(net, splits):
    found = search_masks(net, splits.train, {"3": 0.8, "5": 0.5}, start="taylor", evaluations=40, size=100)
    for masks in (found, *found.rules.values()):
        assert {n: int((~m).sum()) for n, m in masks.masks.items()} == {"3": round(0.8 * 13824), "5": 240}


def test_channels(net, splits):
    found = search_masks(net, splits.train, 0.5, channels=True, evaluations=60, size=100)
    assert {n: (tuple(m.shape), int(m.sum())) for n, m in found.masks.items()} == {
        "0": ((8,), 4),
        "3": ((48,), 24),
    }
    assert found.loss <= found.rules["magnitude"].loss


@pytest.mark.parametrize("method", [Annealing(batch=1), Annealing(batch=4), Genetic()])
def test_the_studys_search_goes_layer_by_layer(net, splits, method):
    found = trade_off_masks(net, splits.train, method=method, evaluations=300, size=200, max_loss=0.5)
    assert list(found.curves) == ["0", "3", "5"]
    assert all(curve[-1][0] <= 100 for curve in found.curves.values())
    assert sum(curve[-1][0] for curve in found.curves.values()) == found.evaluations
    assert all(curve[-1][1] < curve[0][1] for curve in found.curves.values())
    assert 0.2 < found.sparsity < 0.6
    assert found.rules["magnitude"].sparsity == pytest.approx(found.sparsity, abs=1e-4)
    assert found.trade_off == pytest.approx((found.loss - found.unpruned) ** 2 / found.sparsity, rel=1e-4)
    assert found.loss < found.rules["random"].loss


def test_the_same_seed_finds_the_same_masks(net, splits):
    first, again, other = (
        search_masks(net, splits.train, 0.8, evaluations=40, size=100, start="random", seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.curves == again.curves != other.curves
    assert all(torch.equal(first.masks[n], again.masks[n]) for n in first.masks)


class Pairs(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, i):
        return torch.full((1, 8, 8), i / 30), torch.tensor(i % 10)


def test_any_data_set_does(net):
    assert search_masks(net, Pairs(), 0.5, evaluations=20).unpruned > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity is 1.0: give the share .* in \(0, 1\)"),
        ({"sparsity": -0.1}, "sparsity is -0.1"),
        ({"sparsity": {"3": 1.0}}, "sparsity of '3' is 1.0"),
        ({"sparsity": {"three": 0.5}}, "layers names 'three'"),
        ({"sparsity": {"3": 0.5}, "layers": ["3"]}, "leave layers out"),
        ({"layers": ["1"]}, "layers names '1', a ReLU without a weight"),
        ({"layers": ["0", "7"]}, "layers names '7', which is none of the model's"),
        ({"start": "largest"}, "start is 'largest': give 'magnitude', 'taylor' or 'random'"),
        ({"evaluations": 5}, "evaluations is 5: give at least 8 a search, 8 here"),
        ({"size": 0}, "size is 0"),
        ({"examples": TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0))}, "examples is empty"),
    ],
)
def test_bad_arguments(net, splits, arguments, message):
    with pytest.raises(ValueError, match=message):
        search_masks(net, **{"examples": splits.train, "sparsity": 0.5, **arguments})


def test_a_bad_allowance_or_budget_by_layer(net, splits):
    with pytest.raises(ValueError, match="evaluations is 20: give at least 8 a search, 24 here"):
        trade_off_masks(net, splits.train, evaluations=20)
    with pytest.raises(ValueError, match="max_loss is 0"):
        trade_off_masks(net, splits.train, max_loss=0)


@pytest.mark.parametrize("search", [lambda *given: search_masks(*given, 0.5), trade_off_masks])
def test_a_model_without_a_loss_is_refused(net, splits, search):
    broken = nn.Sequential(*net[:5], nn.Linear(48, 10))
    nn.init.constant_(broken[5].bias, float("nan"))
    with pytest.raises(ValueError, match="the unpruned model's loss on the examples is not finite"):
        search(broken, splits.train)


def test_masks_are_applied_to_a_copy(net):
    masks = {"5": torch.zeros(10, 48, dtype=torch.bool)}
    pruned = apply_masks(net, masks)
    assert torch.equal(pruned(torch.randn(2, 1, 8, 8)), net[5].bias.expand(2, 10))
    assert net[5].weight.abs().sum() > 0
    layer = nn.Linear(3, 2)
    assert apply_masks(layer, {"": torch.zeros(2, 3, dtype=torch.bool)}).weight.abs().sum() == 0


def test_masks_of_channels_are_not_taken_for_masks_of_weights():
    square = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"the mask of '0' has shape \(4,\) and its weight \(4, 4\): give a"):
        apply_masks(square, {"0": torch.ones(4, dtype=torch.bool)})


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST in {MNIST}")
def test_on_mnist_it_beats_the_largest_weights():
    from raysearch.trainables.data.idx import read_idx
    from raysearch.trainables.models.lenet import build_lenet5

    x = torch.from_numpy(read_idx(MNIST / "t10k-images-idx3-ubyte.gz").astype(np.float32)[:4000, None]) / 255
    y = torch.from_numpy(read_idx(MNIST / "t10k-labels-idx1-ubyte.gz").astype(np.int64)[:4000])
    torch.manual_seed(0)
    net = build_lenet5()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for part in torch.randperm(3000).repeat(2).split(32):
        optimizer.zero_grad()
        cross_entropy(net(x[part]), y[part]).backward()
        optimizer.step()
    held_out = TensorDataset(x[3000:], y[3000:])
    found = search_masks(net, TensorDataset(x[:1000], y[:1000]), 0.95, evaluations=100, size=100)
    by_rule = right(apply_masks(net, found.rules["magnitude"].masks), held_out)
    assert right(apply_masks(net, found.masks), held_out) > by_rule + 0.05
