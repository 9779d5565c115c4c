"""Contract tests that searchers, schedulers and targets must pass, ours or yours; comparisons; golden fronts.

    def test_contract():
        check_scheduler(lambda goals: MyScheduler(goals, max_step=9))

    def test_it_beats_random_search():
        mine = lambda toy, seed: (MySearcher(toy.parameters, toy.goals, seed=seed), FullTraining())
        other = lambda toy, seed: (RandomSearch(toy.parameters, toy.goals, seed=seed), FullTraining())
        assert compare(mine, other, ZDT1, budget=200, seeds=10).p < 0.05

Each check raises AssertionError with a sentence that says what the contract asks for.
"""

from __future__ import annotations

from raysearch.testing.comparison import Comparison, better, compare
from raysearch.testing.demands import GOALS, PARAMETERS
from raysearch.testing.golden import check_front, front_of, write_front
from raysearch.testing.scheduler_contract import check_scheduler
from raysearch.testing.searcher_contract import check_searcher, check_searcher_options
from raysearch.testing.target_contract import check_target
from raysearch.testing.toys import CONDITIONAL, CURVES, ZDT1, Toy, merit

__all__ = [
    "CONDITIONAL",
    "CURVES",
    "GOALS",
    "PARAMETERS",
    "ZDT1",
    "Comparison",
    "Toy",
    "better",
    "check_front",
    "check_scheduler",
    "check_searcher",
    "check_searcher_options",
    "check_target",
    "compare",
    "front_of",
    "merit",
    "write_front",
]
