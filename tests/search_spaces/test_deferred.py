from __future__ import annotations

from typing import Any

from raysearch.search_spaces.deferred import Deferred


def test_it_makes_its_domains_once_it_knows_what_they_are_over() -> None:
    asked: list[Any] = []

    def maker(**keywords: Any) -> dict[str, Any]:
        asked.append(keywords)
        return {"ratios": {}}

    deferred = Deferred(maker, {"max_ratio": 0.5})
    assert not asked
    assert deferred.bind("the model", exclude=["head"]) == {"ratios": {}}
    assert asked == [{"over": "the model", "exclude": ["head"], "max_ratio": 0.5}]
