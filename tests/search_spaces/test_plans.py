from __future__ import annotations

import json
import pickle

import pytest

from raysearch import search_spaces as spaces
from raysearch.search_spaces.binding import bind
from raysearch.search_spaces.plans import TrialPlan


def test_a_plan_of_nothing_leaves_the_network_as_it_is() -> None:
    plan = TrialPlan()
    assert plan.architecture is None
    assert plan.pruning is None
    assert not plan.bits.quantized
    assert plan.bits.layer("any.layer") == (32, 32)
    assert not plan.teacher.active


def test_a_variant_goes_through_json_and_pickle_and_stays_what_it_is() -> None:
    space = bind({"architecture": spaces.resnet(stages=1, depth=(1, 2), width=(8, 16))})
    stage = {"depth": 2, "width": 16, "kernel": 3, "block": "basic"}
    variant = space.variant({"architecture": {"stem": {"width": 8}, "stage1": stage}})
    assert space.variant(json.loads(json.dumps(variant.config))).key == variant.key
    assert pickle.loads(pickle.dumps(variant)) == variant
    with pytest.raises(AttributeError):
        variant.key = "another"  # type: ignore[misc]
