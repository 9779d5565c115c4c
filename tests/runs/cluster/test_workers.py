"""How many trials a study may have at work while its cluster changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.runs.cluster.demand import Demand
from raysearch.runs.cluster.nodes import Nodes
from raysearch.runs.cluster.sharing import shares
from raysearch.runs.cluster.workers import Workers

CLAIMS = st.lists(st.one_of(st.none(), st.integers(1, 9)), min_size=1, max_size=6)


class Cluster:
    """A cluster that the test changes, with a clock that it moves."""

    def __init__(self, *cpus: float, scaled: bool = False) -> None:
        self.cpus, self.scaled, self.time, self.looks = list(cpus), scaled, 0.0, 0
        self.draining: set[str] = set()
        self.claims: list[int | None] = []

    def look(self) -> Nodes:
        self.looks += 1
        nodes: Any = [{"NodeID": str(i), "Resources": {"CPU": cpu}} for i, cpu in enumerate(self.cpus)]
        return Nodes(tuple(nodes), frozenset(self.draining))

    def workers(self, asked: int | None = None) -> Workers:
        return Workers(
            Demand({"CPU": 1}),
            asked,
            lambda: ([asked, *self.claims], 0),
            scaled=lambda: self.scaled,
            look=self.look,
            clock=lambda: self.time,
        )

    def later(self, seconds: float = 2.0) -> None:
        self.time += seconds


def test_nodes_that_join_are_used_and_those_that_leave_are_not_counted() -> None:
    cluster = Cluster(0, 2)
    workers = cluster.workers()
    assert workers() == 2
    cluster.cpus.append(3)
    assert workers() == 2  # not yet looked at
    cluster.later()
    assert workers() == 5
    cluster.draining.add("1")
    cluster.later()
    assert workers() == 3
    cluster.cpus.clear()
    cluster.later()
    assert workers() == 1  # a trial that waits is what makes a node come


def test_the_cluster_is_not_asked_at_each_suggestion() -> None:
    cluster = Cluster(2)
    workers = cluster.workers()
    for _ in range(1000):
        workers()
        workers.lets_go("0", 1)
        cluster.later(0.003)
    assert cluster.looks <= 4


def test_a_number_that_was_asked_for_is_demand_whatever_there_is() -> None:
    assert Cluster(0, scaled=True).workers(4)() == 4
    assert Cluster(0, 1).workers(4)() == 4
    cluster = Cluster(0, 8)
    assert cluster.workers(4)() == 4


def test_several_studies_share_what_there_is() -> None:
    cluster = Cluster(8)
    cluster.claims = [None]
    assert cluster.workers()() == 4
    assert cluster.workers(8)() == 4
    assert cluster.workers(2)() == 2
    cluster.claims = [2]
    assert cluster.workers()() == 6


def test_where_nodes_may_come_a_number_that_was_asked_for_is_shared_once_none_comes() -> None:
    cluster = Cluster(4, scaled=True)
    cluster.claims = [4]
    workers = cluster.workers(4)
    assert workers() == 4
    cluster.later(59)
    assert workers() == 4
    cluster.later(2)
    assert workers() == 2
    cluster.cpus.append(2)  # one came after all
    cluster.later()
    assert workers() == 4
    cluster.later(70)
    assert workers() == 3


def test_a_worker_goes_with_its_trial_where_it_is_not_the_studys_any_more() -> None:
    cluster = Cluster(1, 1)
    workers = cluster.workers()
    assert not workers.lets_go("0", 1)
    cluster.draining.add("0")
    cluster.later()
    assert workers.lets_go("0", 0)
    assert not workers.lets_go("1", 0)
    cluster.draining.clear()
    cluster.claims = [None]
    cluster.later()
    assert workers.lets_go("0", 1)  # the other study's
    assert not workers.lets_go("0", 0)
    cluster.claims = [None, None]
    cluster.later()
    assert workers.lets_go("0", 0)  # they outnumber the places, and take turns


def test_what_is_said_of_a_cluster() -> None:
    cluster = Cluster(2)
    workers = cluster.workers(2)
    assert workers.words(2) == ""  # nothing is known yet
    workers()
    assert workers.words(2) == ""
    cluster.cpus = [0, 1, 1]
    cluster.draining.add("1")
    cluster.claims = [None]
    cluster.later()
    workers()
    expected = "1 at work on 1 node, 1 waiting for a node, 1 node about to go, shared with 1 other study"
    assert workers.words(2) == expected
    cluster.draining.clear()
    cluster.claims = []
    cluster.later()
    workers()
    assert workers.words(2) == "2 at work on 2 nodes"


@given(st.integers(0, 30), CLAIMS)
def test_shares_are_fair(places: int, claims: list[int | None]) -> None:
    given = shares(places, claims)
    wants = [places if claim is None else claim for claim in claims]
    assert sum(given) == min(places, sum(wants)) or None in claims
    assert sum(given) <= places
    assert all(share <= want for share, want in zip(given, wants, strict=True))
    # Whoever has less than it wants has at most one less than anybody.
    for share, want in zip(given, wants, strict=True):
        assert share == want or share >= max(given) - 1


@pytest.mark.parametrize(
    ("places", "claims", "given"),
    [(3, [None, None], [2, 1]), (1, [None, None], [1, 0]), (0, [2], [0]), (9, [2, None, 3], [2, 4, 3])],
)
def test_shares(places: int, claims: list[int | None], given: list[int]) -> None:
    assert shares(places, claims) == given
