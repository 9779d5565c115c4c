from __future__ import annotations

import sys
from types import ModuleType

import pytest

from raysearch.methods import Method
from raysearch.searchers import SEARCHERS, make_searcher
from raysearch.searchers.random import RandomSearch
from raysearch.testing import GOALS, PARAMETERS


class TakesNothing(RandomSearch):
    def ask(self, trial):
        return super().ask(trial)


def test_a_searcher_that_takes_no_given_config_is_refused_before_any_work(monkeypatch):
    module = ModuleType("my_searchers")
    module.TakesNothing = TakesNothing
    monkeypatch.setitem(sys.modules, "my_searchers", module)
    monkeypatch.setitem(SEARCHERS, "mine", Method("my_searchers:TakesNothing", ""))
    message = r"searcher mine could not resume a run.*ask\(self, trial, given=None\)"
    with pytest.raises(ValueError, match=message):
        make_searcher("mine", PARAMETERS, GOALS, seed=0, initial=(), identity=lambda c: (repr(c), set()))
