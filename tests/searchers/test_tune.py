from __future__ import annotations

import pytest

from raysearch.searchers.fixed import FixedList
from raysearch.searchers.tune import TuneSearcher


class Ends(FixedList):
    """Notes how trials end."""

    def __init__(self):
        super().__init__([{"x": 1}, {"x": 2}])
        self.ends = {}

    def end(self, trial, outcome):
        self.ends[trial] = outcome


@pytest.mark.parametrize("restored", [False, True])
def test_a_trial_under_way_ends_as_what_it_is_after_a_restore_too(tmp_path, restored):
    adapter = TuneSearcher(Ends(), last_step=9)
    adapter.suggest("t")
    adapter.on_trial_result("t", {"training_iteration": 3})
    if restored:
        adapter.save(str(tmp_path / "state.json"))
        adapter = TuneSearcher(Ends(), last_step=9)
        adapter.restore(str(tmp_path / "state.json"))
    adapter.on_trial_complete("t")
    assert adapter.algorithm.ends == {"t": "stopped"}
