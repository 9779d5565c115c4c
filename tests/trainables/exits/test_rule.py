from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from raysearch.networks.exits import Exits
from raysearch.trainables.exits.rule import ALWAYS, NEVER, ExitRule, calibrated, set_rule, share_for


def outputs(n: int = 400, seed: int = 0, scale: float = 3.0) -> tuple[Exits, torch.Tensor]:
    """Logits of an exit that is often right, and of an end that is right more often."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (n,), generator=generator)
    noise = torch.randn(2, n, 5, generator=generator)
    wanted = torch.nn.functional.one_hot(labels, 5).float()
    return Exits(scale * (wanted + noise[0]), 3 * wanted + noise[1]), labels


def right(logits: torch.Tensor, labels: torch.Tensor) -> int:
    return int((logits.argmax(1) == labels).sum())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_calibration_finds_the_temperature_that_made_the_labels(temperature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(20_000, 6, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    assert calibrated(temperature * logits, labels) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_the_share_that_is_asked_for_leaves(share: float) -> None:
    exits, labels = outputs()
    rule = set_rule(exits, labels, share)
    leaves = rule.leaves(exits.early)
    assert float(leaves.float().mean()) == pytest.approx(rule.share)
    assert rule.share == pytest.approx(math.ceil(share * 400) / 400)
    sure = torch.softmax(exits.early / rule.temperature, 1).amax(1)
    if 0 < share < 1:
        assert sure[leaves].min() > sure[~leaves].max()  # the surest leave


def test_equal_confidences_leave_together() -> None:
    early = torch.tensor([[3.0, 0.0]] * 3 + [[0.0, 1.0]] * 2)
    labels = torch.tensor([0, 0, 1, 1, 0])
    rule = set_rule(Exits(early, early), labels, 0.2)
    assert rule.share == 0.6


def test_without_a_budget_no_class_is_lost_and_no_more_could_leave() -> None:
    exits, labels = outputs()
    rule = set_rule(exits, labels, None)
    whole = right(exits.last, labels)
    assert 0 < rule.share < 1
    assert right(rule.outputs(exits), labels) >= whole
    for share in np.linspace(rule.share + 1 / 400, 1, 20):  # what leaves more loses
        assert right(set_rule(exits, labels, float(share)).outputs(exits), labels) < whole


def test_each_input_is_given_the_output_of_where_it_left() -> None:
    exits, labels = outputs()
    rule = set_rule(exits, labels, 0.4)
    leaves = rule.leaves(exits.early)
    assert torch.equal(rule.outputs(exits)[leaves], exits.early[leaves])
    assert torch.equal(rule.outputs(exits)[~leaves], exits.last[~leaves])
    assert torch.equal(NEVER.outputs(exits), exits.last)
    assert torch.equal(ALWAYS.outputs(exits), exits.early)


def test_a_budget_is_kept_on_the_target_where_it_is_hardest() -> None:
    costs = {"a": (0.2, 1.0), "b": (0.5, 1.0), "unknown": (math.nan, math.nan)}
    share = share_for(0.8, costs)
    assert share == pytest.approx(0.4)
    means = {t: share * early + (1 - share) * whole for t, (early, whole) in costs.items()}
    assert max(means["a"], means["b"]) == pytest.approx(0.8)
    assert share_for(0.1, costs) == 1.0  # it cannot be met
    assert share_for(1.0, costs) == 0.0
    assert share_for(0.9, {"slower": (1.1, 1.0)}) == 1.0


def test_a_rule_comes_back_from_json() -> None:
    rule = ExitRule(1.5, 0.75, 0.5)
    assert ExitRule.of(rule.to_dict()) == rule
