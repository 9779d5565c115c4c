"""Searches that are killed and replayed stand where they stood; ``benchmarks.kill_points`` kills 1,000."""

from __future__ import annotations

import random

import pytest

from benchmarks.kill_points import RULES, Course, courses, differences
from raysearch.searchers import SEARCHERS

# Each searcher with one rule, and each rule with one searcher.
PAIRS = [*zip(SEARCHERS, [*RULES, *RULES], strict=False), *(("nsga2", rule) for rule in RULES)]


@pytest.mark.parametrize(("searcher", "rule"), PAIRS)
def test_a_replay_stands_where_the_uninterrupted_search_stood(searcher: str, rule: str) -> None:
    found = next(((s, r, c) for s, r, c in courses(14, 3, [(searcher, rule)])), None)
    if found is None:
        pytest.skip(f"{searcher} is not installed")
    course: Course = found[2]
    random_ = random.Random(0)
    kills = random_.sample(sorted(course.states), 3)
    assert len(course.lines) > 40
    for kill in kills:
        assert differences(searcher, rule, course, kill, 3, random_.randrange(10**6)) == []
