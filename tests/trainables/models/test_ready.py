import pickle

import torch

from raysearch.search_spaces import LayerPlan, MLPPlan, ViTPlan
from raysearch.search_spaces.architectures.families import FAMILIES
from raysearch.search_spaces.architectures.vit import BlockPlan
from raysearch.trainables.models.ready import BUILDERS, ReadyBuilder


def test_every_family_has_a_builder():
    assert {plan.FORM.family for plan in BUILDERS} == set(FAMILIES)


def test_a_builder_makes_its_default_or_any_familys_network():
    builder = pickle.loads(pickle.dumps(ReadyBuilder(MLPPlan((LayerPlan(8),)), (1, 6, 5), 3)))
    for model in (builder(), builder(ViTPlan(4, 2, 4, (BlockPlan(),)))):
        assert model(torch.zeros(2, 1, 6, 5)).shape == (2, 3)
