import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raysearch.networks.capture import capture
from raysearch.networks.groups import prunable_groups
from raysearch.search_spaces.architectures.resnet import BLOCKS, ResNetPlan, StagePlan
from raysearch.search_spaces.pruning.channel_pruning import PruningPlan, kept_channels
from raysearch.trainables.models.resnet import build_resnet
from raysearch.trainables.pruning import prune

WIDTHS = st.sampled_from([8, 16, 24])
STAGES = st.builds(StagePlan, st.integers(1, 3), WIDTHS, st.sampled_from([3, 5]), st.sampled_from(BLOCKS))
PLANS = st.builds(ResNetPlan, WIDTHS, st.lists(STAGES, min_size=1, max_size=4).map(tuple))


@given(PLANS)
@settings(max_examples=4, deadline=None)
def test_every_plan_builds_is_captured_and_prunes(plan):
    torch.manual_seed(0)
    model, x = build_resnet(plan, 1, 10).eval(), torch.randn(2, 1, 8, 8)
    assert model(x).shape == (2, 10)
    assert torch.equal(capture(model, x)(x), model(x))
    names = [name for name, _ in model.named_children() if name.startswith("st")]
    assert (*names, "head") == plan.parts()
    ratios = {part: 0.3 + 0.1 * i for i, part in enumerate(plan.parts()[:-1])}
    widths, groups = plan.widths(), prunable_groups(model, x)
    assert {name.split(".")[0] for name in groups} == set(widths)
    assert all(groups[name] == widths[name.split(".")[0]] for name in groups)
    prune(model, x, PruningPlan(ratios, multiple=8))
    for name in groups:
        part = name.split(".")[0]
        assert model.get_submodule(name).out_channels == kept_channels(widths[part], ratios[part], 8)
    for part, block in (("stem", model.stem), *((p, model.get_submodule(p)) for p in names[1:])):
        outputs = [m.out_channels for m in block.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
        assert set(outputs) == {kept_channels(widths[part], ratios[part], 8)}
    assert model.head.out_features == 10
    assert model(x).shape == (2, 10)


def test_every_stage_but_the_first_halves_the_image():
    model = build_resnet(ResNetPlan(8, (StagePlan(1, 8), StagePlan(1, 16), StagePlan(2, 16))), 3, 2)
    x = model.stem(torch.zeros(1, 3, 16, 16))
    sizes = []
    for name in model.stages:
        x = model.get_submodule(name)(x)
        sizes.append(x.shape[-1])
    assert sizes == [16, 8, 4]


def test_the_seed_decides_the_weights():
    plan = ResNetPlan(8, (StagePlan(1, 8),))
    torch.manual_seed(3)
    first = build_resnet(plan, 1, 10)
    torch.manual_seed(3)
    second = build_resnet(plan, 1, 10)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_too_few_classes():
    with pytest.raises(ValueError, match="1 input channels and 1 classes"):
        build_resnet(ResNetPlan(8, (StagePlan(1, 8),)), 1, 1)
