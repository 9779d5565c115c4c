from __future__ import annotations

from typing import Any

import pytest
import torch
from exiting_network import Exiting, build
from ray import tune
from torch import Tensor, nn

import raysearch as rs
from raysearch.networks.running import TimeLimitExceeded
from raysearch.search_spaces.architectures import own_family, trying
from raysearch.search_spaces.architectures.alternatives import opened

SPACE = {"exits": tune.choice([False, True]), "width": tune.randint(8, 17)}
IMAGES = torch.rand(2, 1, 8, 8)


class ReadsValues(Exiting):
    """Runs on no device that has no values."""

    def forward(self, x: Tensor) -> Tensor | rs.Exits:
        return super().forward(x / x.max().item())


def reads_values(architecture: dict[str, Any]) -> nn.Module:
    return ReadsValues(architecture["exits"])


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine so slow that the time is over before the second network is run."""
    monkeypatch.setattr(trying, "_RUN_S", -1.0)


@pytest.mark.filterwarnings("ignore:the model's function reads nothing")
@pytest.mark.parametrize("make", [build, reads_values])
def test_exits_are_found_whatever_the_time(make: Any, no_time: None) -> None:
    assert own_family(opened(SPACE), make, example_input=IMAGES).exits
    plain = {**SPACE, "exits": tune.choice([False])}
    assert not own_family(opened(plain), make, example_input=IMAGES).exits


@pytest.mark.filterwarnings("ignore:the model's function reads nothing")
def test_networks_that_tell_their_outputs_without_are_not_run_for_longer(no_time: None) -> None:
    ran: list[Tensor] = []

    class Counted(Exiting):
        def forward(self, x: Tensor) -> Tensor | rs.Exits:
            if x.device.type != "meta":
                ran.append(x)
            return super().forward(x)

    assert own_family(opened(SPACE), lambda a: Counted(a["exits"]), example_input=IMAGES).exits
    assert len(ran) == 2  # the middle, checked and asked


def test_a_network_that_does_not_run_counts_alike_whatever_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(Exiting):
        """Runs without values, and not with them: what a check finds."""

        def forward(self, x: Tensor) -> Tensor | rs.Exits:
            if self.side is not None and x.device.type != "meta":
                raise RuntimeError("no kernel for this")
            return super().forward(x)

    def make(architecture: dict[str, Any]) -> nn.Module:
        return Fails(architecture["exits"])

    space = opened({"exits": tune.choice([False, True])})
    with pytest.warns(UserWarning, match="no kernel for this"):
        with_time = own_family(space, make, example_input=IMAGES)
    monkeypatch.setattr(trying, "_RUN_S", -1.0)
    without = own_family(space, make, example_input=IMAGES)
    assert with_time == without
    assert without.exits


def test_a_network_that_takes_too_long_to_take_apart_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from raysearch.networks import groups

    calls = []
    take_apart = groups.prunable_groups

    def slow(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise TimeLimitExceeded("looking for channels to prune took longer than 20 s")
        return take_apart(*arguments, **options)

    monkeypatch.setattr(groups, "prunable_groups", slow)
    space = opened({"exits": tune.choice([False, True])})
    with pytest.raises(TimeLimitExceeded, match="took longer"):
        own_family(space, build, example_input=IMAGES, pruned=True)
