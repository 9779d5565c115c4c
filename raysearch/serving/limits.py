"""What a server has to keep to, which may change while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean
from raysearch.serving.policy import RESERVE, Rule, make_rule


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        slo_ms: how long after its arrival a request is to be answered; > 0.
        reserve: the share of that which the rule "plan" keeps free; in [0, 1).
        max_memory_mb: what the sessions may hold together, the smallest models first; None: all are loaded.
        rule: "plan", "static", "slackfit" or "rate".

    Raises:
        UserError: one is out of its range.
    """

    slo_ms: float = 20.0
    reserve: float = RESERVE
    max_memory_mb: float | None = None
    rule: str = "plan"

    def __post_init__(self) -> None:
        _check_number("slo_ms", self.slo_ms, "a positive number of milliseconds, such as 20", low=0)
        _check_number("reserve", self.reserve, "a share from 0 to below 1, such as 0.3", high=1)
        if self.max_memory_mb is not None:
            _check_number("max_memory_mb", self.max_memory_mb, "a positive number of MB, or null", low=0)
        if not isinstance(self.rule, str):
            raise UserError(f"rule is {self.rule!r}: give plan, static, slackfit or rate")
        self.make()

    def make(self) -> Rule:
        """The rule, fresh."""
        options = {"reserve": self.reserve} if self.rule == "plan" else {}
        return make_rule(self.rule, self.slo_ms, **options)

    def changed(self, changes: Mapping[str, Any]) -> Limits:
        """The same with some limits changed.

        Raises:
            UserError: a limit is unknown, or out of its range.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise UserError(f"limit {name!r} is unknown: {did_you_mean(str(name), known)}")
        return replace(self, **changes)

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


_MOST = 1e15  # of any limit; larger integers are no floats


def _check_number(
    name: str, value: Any, right: str, *, low: float | None = None, high: float = math.inf
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST
    if not number or not (value >= 0 if low is None else value > low) or value >= high:
        raise UserError(f"{name} is {value!r}: give {right}")
