import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raysearch.trainables.masks.mask_loss import MaskedLoss
from raysearch.trainables.masks.mask_search import apply_masks
from raysearch.trainables.masks.masks import weight_units

generator = torch.Generator().manual_seed(0)
X = torch.randn(60, 1, 8, 8, generator=generator)
Y = torch.randint(5, (60,), generator=generator)


class Untraceable(nn.Module):
    """Its way depends on the input's values, which neither torch.export nor vmap can follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 6), nn.Linear(6, 5)

    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.second(torch.relu(x)) if float(x.sum()) < 1e9 else x


def sequential():
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, 7)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(7, 5)).train()


class Tied(nn.Module):
    """Two layers with one weight, of which the later one is called first."""

    def __init__(self):
        super().__init__()
        self.flatten, self.head = nn.Flatten(), nn.Linear(64, 5)
        self.later, self.first = nn.Linear(64, 64), nn.Linear(64, 64)
        self.first.weight = self.later.weight

    def forward(self, x):
        return self.head(self.later(torch.relu(self.first(self.flatten(x)))))


def setting(make, size=60):
    torch.manual_seed(0)
    model = make()
    units = weight_units(model)
    return model, units, MaskedLoss(model, units, X, Y, F.cross_entropy, size)


def one_by_one(model, units, masks, rows=slice(None)):
    model.eval()
    with torch.no_grad():
        return [float(F.cross_entropy(apply_masks(model, units.split(m))(X[rows]), Y[rows])) for m in masks]


@pytest.mark.parametrize("make", [sequential, Untraceable, Tied])
def test_many_masks_at_once_cost_what_each_costs_alone(make):
    model, units, loss = setting(make)
    masks = np.random.default_rng(0).random((5, units.total)) < 0.6
    assert loss.losses(masks) == pytest.approx(one_by_one(model, units, masks), abs=1e-5)
    assert loss.losses(masks[:1]) == pytest.approx(one_by_one(model, units, masks[:1]), abs=1e-5)


@pytest.mark.parametrize("layer", ["0", "5", "7"])
def test_what_a_layer_does_not_change_is_kept(layer):
    model, units, loss = setting(sequential)
    rng = np.random.default_rng(1)
    for _ in range(3):  # other masks before the layer: what is kept must not outlive them
        masks = np.repeat(rng.random((1, units.total)) < 0.6, 4, axis=0)
        where = units.slices[layer]
        masks[:, where] = rng.random((4, where.stop - where.start)) < 0.5
        for _ in range(2):
            assert loss.losses(masks, [layer]) == pytest.approx(one_by_one(model, units, masks), abs=1e-5)


def test_what_shares_a_weight_is_computed_again():
    model, units, loss = setting(Tied)
    masks = np.random.default_rng(1).random((4, units.total)) < 0.5
    masks[:, units.slices["head"]] = True
    assert loss.losses(masks, ["later"]) == pytest.approx(one_by_one(model, units, masks), abs=1e-5)


def test_other_examples_are_seen_when_drawn():
    model, units, loss = setting(sequential, size=20)
    masks = np.ones((2, units.total), bool)
    for seed in range(3):
        loss.draw(np.random.default_rng(seed))
        assert len(loss.rows.unique()) == 20
        expected = one_by_one(model, units, masks, loss.rows)
        assert loss.losses(masks, ["7"]) == pytest.approx(expected, abs=1e-5)


def test_the_model_stays_as_it_is():
    model, units, loss = setting(sequential)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loss.losses(np.zeros((3, units.total), bool))
    loss.gains(np.ones(units.total, bool))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_slope_is_that_of_the_loss_along_the_mask():
    model, units, loss = setting(sequential)
    mask = np.random.default_rng(2).random(units.total) < 0.7
    slope, square = loss.gains(mask)
    model.eval().double()
    step = 1e-5
    for unit in (3, 100, units.total - 1):
        ends = []
        for sign in (-1, 1):
            changed = mask.astype(np.float64)
            changed[unit] += sign * step
            masks = {n: torch.from_numpy(changed[s]) for n, s in units.slices.items()}
            parameters = {n: p.detach() for n, p in model.named_parameters()}
            output = torch.func.functional_call(model, units.masked(parameters, masks), (X.double(),))
            ends.append(F.cross_entropy(output, Y).item())
        assert slope[unit] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-3, abs=1e-6)
    assert (square >= 0).all()


def test_rescaled_losses_do_not_see_how_large_logits_are():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6, bias=False), nn.Linear(6, 5, bias=False))
    half = nn.Sequential(*net[:2], nn.Linear(6, 5, bias=False))
    half[2].weight.data = net[2].weight.data * 0.5
    masks = np.random.default_rng(0).random((3, 414)) < 0.6
    losses = []
    for model in (net, half):
        loss = MaskedLoss(model, weight_units(model), X, Y, F.cross_entropy, 60, rescale=True)
        loss.loss = MaskedLoss(net, weight_units(net), X, Y, F.cross_entropy, 60, rescale=True).loss
        losses.append(loss.losses(masks))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_rescaled_the_unpruned_network_has_its_own_loss():
    model, units, _ = setting(sequential)
    rescaled = MaskedLoss(model, units, X, Y, F.cross_entropy, 60, rescale=True)
    ones = np.ones((1, units.total), bool)
    assert rescaled.losses(ones) == pytest.approx(one_by_one(model, units, ones), rel=1e-4)
