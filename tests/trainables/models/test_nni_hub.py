"""NNI's hub spaces: with the extra nni, and the sentence without it."""

from __future__ import annotations

import importlib.util
import pickle
import random
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from raysearch import search_spaces as spaces
from raysearch.basics.extras import MissingExtra
from raysearch.networks.capture import capture
from raysearch.search_spaces import domains
from raysearch.search_spaces.architectures.nni_hub import HUB
from raysearch.study_file.space_text import dump_space, parse_space
from raysearch.trainables.inheritance import inherit
from raysearch.trainables.models.nni_hub import NNIHub
from raysearch.trainables.task import Task

with_nni = pytest.mark.skipif(not importlib.util.find_spec("nni"), reason="needs the extra nni")
CELLS = {"width": (8, 16), "num_cells": (3, 4)}
SMALL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("AmoebaNet", "DARTS", "ENAS", "NASNet", "PNAS"), CELLS),
    "AutoFormer": {"img_size": 32, "patch_size": 16, "num_labels": 10, "search_depth": (1, 2)},
    "MobileNetV3Space": {"num_labels": 10},
    "NasBench101": {"stem_out_channels": 16, "num_modules_per_stack": 1},
    "NasBench201": {"num_modules_per_stack": 1},
    "ProxylessNAS": {"num_labels": 10},
    "ShuffleNetSpace": {"num_labels": 10},
}
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def drawn(space: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A random architecture of a space."""
    rng = random.Random(seed)
    flat = {path: rng.choice(values.ends()) for path, values in domains.read(space).items()}
    return domains.merged(domains.constants(space), domains.nested(flat))


@with_nni
@pytest.mark.parametrize("name", HUB)
def test_a_space_is_sampled_and_its_networks_run_and_are_captured(name: str) -> None:
    hub, space = NNIHub(name, **SMALL[name]), spaces.nni_hub(name, **SMALL[name])
    assert parse_space(dump_space({"architecture": space}))["architecture"].keys() == space.keys()
    seeds = (0, 2) if name != "NasBench101" else (3, 4)  # a third of its draws break its constraints
    made = [hub(drawn(space, seed)).eval() for seed in seeds]
    for network in (hub().eval(), *made):
        captured = capture(network, X)
        assert torch.equal(captured(X), network(X))
        assert network(X).shape == (2, 10)
    assert len({sum(p.numel() for p in network.parameters()) for network in made}) == 2


@with_nni
def test_what_a_shallow_network_does_not_have_is_inactive() -> None:
    hub, space = (
        NNIHub("AutoFormer", **SMALL["AutoFormer"]),
        spaces.nni_hub("AutoFormer", **SMALL["AutoFormer"]),
    )
    bound = spaces.bind({"architecture": space}, build=hub)
    deep = {**hub.first, "depth": 2}
    for architecture, active in ((hub.first, False), (deep, True)):
        variant = bound.variant({"architecture": architecture})
        assert "architecture/num_head_0" in variant.active
        assert ("architecture/num_head_1" in variant.active) is active
        assert ("num_head_1" in variant.config["architecture"]) is active
    keys = [bound.variant({"architecture": {**each, "num_head_1": 4}}).key for each in (hub.first, deep)]
    assert keys[0] == bound.variant({"architecture": hub.first}).key
    assert keys[1] != bound.variant({"architecture": deep}).key


@with_nni
def test_a_task_takes_its_networks_and_they_inherit() -> None:
    hub = pickle.loads(pickle.dumps(NNIHub("NasBench201", **SMALL["NasBench201"])))
    examples = TensorDataset(X, torch.tensor([0, 1]))
    task = Task(hub, examples, examples, examples, parent={"architecture": hub.first})
    parent = task.build(task.decoded(hub.first))
    changed = {**hub.first, "cell": {**hub.first["cell"], "0_1": "conv_3x3"}}
    child = task.build(task.decoded(changed))
    inherited = inherit(child, parent.state_dict())
    assert 0.5 < inherited.share < 1
    assert torch.equal(child.classifier.weight, parent.classifier.weight)


@with_nni
def test_the_same_seed_gives_the_same_weights() -> None:
    states = []
    for _ in range(2):
        hub = NNIHub("AutoFormer", **SMALL["AutoFormer"])
        torch.manual_seed(3)
        states.append(hub().state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@with_nni
def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="has no space 'ProxylesNAS'; did you mean 'ProxylessNAS'"):
        spaces.nni_hub("ProxylesNAS")
    with pytest.raises(ValueError, match=r"making NNI's space DARTS\(colour='red'\) fails: TypeError"):
        NNIHub("DARTS", colour="red")
    hub = NNIHub("NasBench201")
    with pytest.raises(ValueError, match="is of NNI's space NasBench201, and the architecture's hub is 'D"):
        hub({"hub": "DARTS"})
    with pytest.raises(ValueError, match="the architecture is not in NNI's space NasBench201: "):
        hub({"hub": "NasBench201", "cell": {**hub.first["cell"], "0_1": "conv_9x9"}})


@with_nni
def test_ranges_are_ranges() -> None:
    from nni.mutable import Numerical

    from raysearch.search_spaces.architectures.nni_hub import _domain

    for mutable in (
        Numerical(0.5, 2.0, label="x"),
        Numerical(0.5, 2.0, log_distributed=True, label="x"),
        Numerical(0.5, 2.0, quantize=0.5, label="x"),
    ):
        values = domains.read({"x": _domain("x", mutable)})[("x",)]
        assert isinstance(values, domains.Numbers)
        assert (values.low, values.high, values.step) == (0.5, 2.0, mutable.quantize)
        assert values.log is mutable.log_distributed
    with pytest.raises(ValueError, match="has no form among Tune's domains"):
        _domain("x", Numerical(mu=0.0, sigma=1.0, label="x"))


@with_nni
def test_a_study_file_names_a_space() -> None:
    text = {"nni_hub": {"name": "AutoFormer", "img_size": 32, "search_depth": [1, 2]}}
    space = parse_space({"architecture": text})["architecture"]
    assert domains.read(space)[("depth",)].ends() == [1, 2]


def test_without_nni_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nni", None)
    sentence = r'^nni is not installed: run `pip install "raysearch\[nni\]"`$'
    for make in (NNIHub, spaces.nni_hub):
        with pytest.raises(MissingExtra, match=sentence):
            make("ProxylessNAS")
    with pytest.raises(ValueError, match=r"space.architecture.nni_hub: nni is not installed: run `pip inst"):
        parse_space({"architecture": {"nni_hub": {"name": "DARTS"}}})
