"""Studies that know of each other."""

from __future__ import annotations

import pytest
from ray.experimental import internal_kv

from raysearch.runs.cluster.demand import Demand
from raysearch.runs.cluster.sharing import announced
from raysearch.runs.cluster.workers import at_work


@pytest.mark.cluster
def test_studies_know_of_each_other_while_they_are_at_work(cluster: None) -> None:
    with announced(None) as first:
        assert first() == ([None], 0)
        with announced(3) as second:
            assert first() == ([None, 3], 0)
            assert second() == ([None, 3], 1)
        assert first() == ([None], 0)


@pytest.mark.cluster
def test_a_study_whose_driver_is_gone_is_not_counted(cluster: None) -> None:
    gone = b"raysearch-study:0000000001.000000:abc:ffffffff"
    internal_kv._internal_kv_put(gone, b"")
    try:
        with announced(2) as claims:
            assert claims() == ([2], 0)
    finally:
        internal_kv._internal_kv_del(gone)


@pytest.mark.cluster
def test_two_studies_on_two_cores_have_one_each(cluster: None) -> None:
    one = Demand({"CPU": 1})
    with at_work(one, None) as first, at_work(one, 2) as second:
        assert (first(), second()) == (1, 1)
    with at_work(one, None) as alone:
        assert alone() == 2
