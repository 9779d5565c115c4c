from __future__ import annotations

from raysearch.schedulers.full_training import FullTraining
from raysearch.testing import check_scheduler


def test_it_keeps_the_contract():
    check_scheduler(lambda goals: FullTraining())
