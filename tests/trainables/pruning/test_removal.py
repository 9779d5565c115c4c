import copy
import json

import pytest
import torch
from torch import nn

from raysearch.search_spaces.architectures.resnet import ResNetPlan, StagePlan
from raysearch.search_spaces.pruning.channel_pruning import PruningPlan
from raysearch.trainables.models.resnet import build_resnet
from raysearch.trainables.pruning import prune, prune_like

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PLAN = ResNetPlan(
    16, (StagePlan(2, 16), StagePlan(1, 24, block="separable"), StagePlan(2, 16, block="plain"))
)
PRUNING = PruningPlan({"stem": 0.5, "stage1": 0.5, "stage2": 0.3, "stage3": 0.5})


@pytest.fixture
def model():
    torch.manual_seed(1)
    model = build_resnet(PLAN, 1, 10)
    for m in model.modules():  # as if trained: batch norm that does something
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.1)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
    return model.eval()


def zero(model, history):
    """Set what was removed to zero, group by group, in a copy that keeps its shapes."""
    import torch_pruning as tp

    copied = copy.deepcopy(model)
    graph = tp.DependencyGraph().build_dependency(copied, X, verbose=False)
    for root, channels in history:
        layer = copied.get_submodule(root)
        for dep, indices in graph.get_pruning_group(layer, tp.prune_conv_out_channels, channels):
            target = dep.target.module
            if isinstance(target, nn.BatchNorm2d):
                target.weight.data[indices] = 0
                target.bias.data[indices] = 0
    return copied


def test_what_stays_computes_the_same_as_zeroing_what_goes(model):
    original = copy.deepcopy(model)
    history = prune(model, X, PRUNING)
    assert torch.allclose(model(X), zero(original, history)(X), atol=1e-5)


def test_the_channels_with_the_largest_norm_stay(model):
    with torch.no_grad():
        for name in ("stem.conv", "stem.bn"):
            model.get_submodule(name).weight[[1, 5, 7, 8, 9, 10, 11, 15]] *= 10
    history = dict(prune(model, X, PruningPlan({"stem": 0.5})))
    assert history == {"stem.conv": [0, 2, 3, 4, 6, 12, 13, 14]}


def test_a_history_replays_the_shapes_exactly(model):
    fresh = copy.deepcopy(model)
    history = json.loads(json.dumps(prune(model, X, PRUNING)))
    assert prune_like(fresh, X, history) is fresh
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    assert {k: v.shape for k, v in fresh.state_dict().items()} == shapes
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(X), model(X))


def test_a_history_of_another_model(model):
    with pytest.raises(ValueError, match="the pruning history is of another model: no channel 40 in"):
        prune_like(model, X, [("stem.conv", [40])])
    assert prune_like(model, X, []) is model


def test_nothing_to_prune(model):
    before = copy.deepcopy(model.state_dict())
    assert prune(model, X, PruningPlan({"stem": 0.0, "elsewhere": 0.5})) == []
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_random_pruning_follows_torchs_seed(model):
    histories = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        histories.append(prune(copy.deepcopy(model), X, PruningPlan({"stem": 0.5}, criterion="random")))
    assert histories[0] == histories[1] != histories[2]


def test_an_unknown_criterion(model):
    with pytest.raises(ValueError, match="criterion 'tailor' is not"):
        prune(model, X, PruningPlan({"stem": 0.5}, criterion="tailor"))


def test_training_mode_stays(model):
    model.train()
    prune(model, X, PRUNING)
    assert all(m.training for m in model.modules())


def test_grouped_convolutions_lose_as_much_in_every_group():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 1), nn.Conv2d(16, 32, 3, groups=4), nn.Conv2d(32, 5, 1)).eval()
    prune(model, X, PruningPlan({"0": 0.5, "1": 0.4}, multiple=2))
    assert [m.weight.shape[0] for m in model] == [8, 20, 5]
    assert model[1].groups == 4
    assert model(X).shape == (4, 5, 6, 6)


def test_frozen_layers_stay_frozen(model):
    frozen = [name for name, _ in model.named_parameters() if name.startswith(("stem", "stage1"))]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    fresh = copy.deepcopy(model)
    history = prune(model, X, PRUNING)
    assert any(root.startswith(("stem", "stage1")) for root, _ in history)
    for pruned in (model, prune_like(fresh, X, history)):
        assert [name for name, p in pruned.named_parameters() if not p.requires_grad] == frozen


def test_what_is_excluded_keeps_its_channels_whatever_the_ratio_of_its_part(model):
    def widths():
        layers = model.stage1.named_modules()
        return {name: m.out_channels for name, m in layers if isinstance(m, nn.Conv2d)}

    before = widths()
    history = prune(model, X, PRUNING, exclude=["stage1"])
    assert history
    assert widths() == before
    assert not any(root.startswith("stage1") for root, _ in history)
