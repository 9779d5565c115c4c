"""Ray Tune's side of the searchers: its domains as parameters, and an adapter for any searcher."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ray.tune import search as tune_search

from raysearch.schedulers.tune import numbers
from raysearch.search_spaces import domains
from raysearch.searchers.base import Config, Outcome, Suggesting
from raysearch.searchers.encoding import Parameter


def parameters_of(
    space: Mapping[str, Any], priors: Mapping[domains.Path, domains.Prior] | None = None
) -> tuple[Parameter, ...]:
    """The searched parameters of a Tune ``param_space``, in its order; constants are left out.

    Takes choice, uniform, quniform, loguniform, qloguniform, randint, lograndint, qrandint and qlograndint in
    dicts of any depth, and gives each the values that Tune itself would draw.

    Args:
        space: nested domains and constants.
        priors: how likely choices are in random draws, by their paths.

    Raises:
        ValueError: the space holds grid_search, sample_from, randn or another domain that cannot be searched,
            a domain inside a list or a choice, or one with low >= high.
    """
    known = priors or {}
    return tuple(_parameter(path, values, known.get(path)) for path, values in domains.read(space).items())


def _parameter(path: domains.Path, values: domains.Values, prior: domains.Prior | None) -> Parameter:
    if isinstance(values, domains.Choices):
        return Parameter(path, "categorical", choices=values.values, prior=prior)
    kind: Literal["integer", "float"] = "integer" if values.integer else "float"
    return Parameter(path, kind, values.low, values.high, values.log, values.step)


class TuneSearcher(tune_search.Searcher):
    """Runs a pure searcher inside ``ray.tune.Tuner``.

    Args:
        searcher: proposes nested configs and is told every numeric entry of a result as a value. None from
            its ``ask`` means later while trials are in flight, and the end when none is.
        step: the entry of a result that holds its step.
        last_step: the step that completes a trial; one that ends before it counts as stopped.
    """

    def __init__(self, searcher: Suggesting, *, step: str = "training_iteration", last_step: int = 0) -> None:
        super().__init__()
        # Not "searcher": Tune unwraps whatever an attribute of that name holds.
        self.algorithm = searcher
        self.step, self.last_step = step, last_step
        self._in_flight: dict[str, int] = {}  # and the last step that each reported, -1 before the first

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        """Ignores Tune's single metric and mode; the space is the pure searcher's."""
        return True

    def suggest(self, trial_id: str) -> Config | str | None:  # type: ignore[override]
        """The next config, None for later, or Tune's sign that the search is over."""
        config = self.algorithm.ask(trial_id)
        if config is None:
            return None if self._in_flight else str(tune_search.Searcher.FINISHED)
        self._in_flight[trial_id] = -1
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tells the searcher; Tune does not call it for the result that stops a trial."""
        if self.step in result:
            self._tell(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells the last result and the end; a paused trial that Tune stops has no result."""
        if result and self.step in result:
            self._tell(trial_id, result)
        step = self._in_flight.pop(trial_id, -1)
        outcome: Outcome = "finished" if step >= self.last_step else "stopped"
        self.algorithm.end(trial_id, "failed" if error or step < 0 else outcome)

    def _tell(self, trial_id: str, result: dict[str, Any]) -> None:
        step = int(result[self.step])
        self._in_flight[trial_id] = step
        self.algorithm.tell(trial_id, step, numbers(result))

    def get_state(self) -> dict[str, Any]:
        """The state as plain JSON; Tune's snapshots call this."""
        return {"searcher": self.algorithm.state(), "in_flight": dict(self._in_flight)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes a state over."""
        self.algorithm.load(state["searcher"])
        self._in_flight = dict(state["in_flight"])

    def save(self, checkpoint_path: str) -> None:
        """The state as a file of JSON."""
        Path(checkpoint_path).write_text(json.dumps(self.get_state()), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Takes a saved state over."""
        self.set_state(json.loads(Path(checkpoint_path).read_text(encoding="utf-8")))
