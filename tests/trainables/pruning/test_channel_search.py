import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from trial_setup import PARENT, FakeMeasure, make_setup

from raysearch.search_spaces.pruning.channel_pruning import SEARCHED, PruningPlan
from raysearch.trainables.masks.mask_search import search_masks
from raysearch.trainables.pruning import prune, prune_like, remove_masked
from raysearch.trainables.pruning.channel_search import searchable
from raysearch.trainables.stages import TrialStages

X = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def examples(network):
    """The network's own classes, so that the unpruned loss is low and every channel may matter."""
    with torch.no_grad():
        return TensorDataset(X, network(X).argmax(1))


def loss(model, examples):
    x, y = examples.tensors
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(x), y))


@pytest.mark.parametrize("criterion", SEARCHED)
def test_a_trial_prunes_by_search(network, examples, criterion, monkeypatch):
    monkeypatch.setattr("raysearch.trainables.pruning.channel_search.EVALUATIONS", 60)
    ratios = {"stem": 0.5, "stage1": 0.25, "stage2": 0.5, "stage3": 0.25}
    losses = {}
    for name in (criterion, "magnitude"):
        torch.manual_seed(3)
        model = copy.deepcopy(network)
        history = prune(model, X[:1], PruningPlan(ratios, name, 1), examples=examples)
        losses[name] = loss(model, examples)
        again = prune_like(copy.deepcopy(network), X[:1], history)
        assert torch.allclose(again(X), model(X), atol=1e-5)
    assert losses[criterion] <= losses["magnitude"] + 1e-6


@pytest.mark.parametrize("criterion", ["annealing", "taylor"])
def test_a_trial_names_the_criterion(criterion, tmp_path, monkeypatch):
    monkeypatch.setattr("raysearch.trainables.pruning.channel_search.EVALUATIONS", 20)
    pruning = {"criterion": criterion, "multiple": 2, "ratios": {"stem": 0.5, "stage1": 0.25}}
    setup = make_setup(tmp_path, epochs=1)
    runs = [TrialStages(setup, name, {**PARENT, "pruning": pruning}, FakeMeasure()) for name in ("a", "b")]
    assert runs[0].module.get_submodule("stem.conv").out_channels == 4
    assert runs[0].history == runs[1].history, "a trial that is built again prunes the same"


def test_masked_channels_compute_what_removed_ones_do(network, examples):
    shares, options = {"stem.conv": 0.5, "stage2.0.conv1": 0.25}, {"evaluations": 40, "size": 100}
    found = search_masks(network, examples, shares, channels=True, rescale=False, **options)
    model = remove_masked(network, X[:1], found.masks)
    assert found.loss == pytest.approx(loss(model, examples), rel=1e-6)
    assert found.loss != pytest.approx(loss(network, examples), rel=1e-4)
    assert (
        model.get_submodule("stem.conv").out_channels == network.get_submodule("stem.conv").out_channels // 2
    )


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"stem.cov": torch.ones(8, dtype=torch.bool)}, "a mask of 'stem.cov'; did you mean 'stem.conv'"),
        ({"stem.conv": torch.ones(3, dtype=torch.bool)}, r"has shape \(3,\) and keeps 3: it must have shape"),
        ({"stem.conv": torch.zeros(8, dtype=torch.bool)}, r"keeps 0: it must have shape \(8,\) and keep one"),
    ],
)
def test_masks_of_other_models_are_refused(network, masks, message):
    with pytest.raises(ValueError, match=message):
        remove_masked(network, X[:1], masks)


def test_a_searching_criterion_needs_examples(network):
    with pytest.raises(ValueError, match="criterion 'annealing' looks at examples, and none are given"):
        prune(network, X[:1], PruningPlan({"stem": 0.5}, "annealing", 1))


def test_examples_of_any_kind_are_held_as_tensors_for_a_search():
    x, y = torch.arange(12.0).view(6, 2), torch.arange(6)
    held = TensorDataset(x, y)
    assert searchable(held, None, 0) is held
    for examples in (DataLoader(held, batch_size=2), Subset(held, [4, 1]), list(zip(x, y, strict=True))):
        inputs, targets = searchable(examples, None, 0).tensors
        assert torch.equal(inputs, x[targets])
    reversed_pairs = [(label, image) for image, label in held]
    inputs, targets = searchable(reversed_pairs, swap, 0).tensors
    assert torch.equal(inputs, x[targets])
    with pytest.raises(ValueError, match="search on inputs and targets of one tensor each"):
        searchable(TensorDataset(x, x, y), None, 0)


def swap(examples):
    return torch.stack([x for _, x in examples]), torch.stack([y for y, _ in examples])
