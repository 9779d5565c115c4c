"""Duplicates answered from the record: no variant is evaluated twice, whoever proposes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raysearch.searchers.base import Config, Identity, Outcome, Recalling, Searcher
from raysearch.searchers.encoding import Encoding, Parameter
from raysearch.searchers.novelty import Novelty

# So many duplicates in a row, each answered, and the searcher has converged or its space is nearly used up.
_ANSWERED = 50


@dataclass
class Answer:
    """What a variant reported, (step, values) in order, and how it ended; None: it is in flight."""

    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    outcome: Outcome | None = None


class Recorded:
    """Runs a searcher that may repeat itself, and lets no repetition become a trial.

    A proposal whose variant was evaluated is answered at once: the searcher is told the recorded reports and
    the outcome, and asked again. One whose variant is in flight follows that trial's reports. After 50
    duplicates in a row the trial gets a random new config, of which the searcher is told nothing, so that no
    worker idles; when there is none left, None.

    Args:
        searcher: any that may propose what it proposed before.
        parameters: its space.
        identity: tells which configs are the same variant; None: those that are equal.
        known: pairs of a config and what it is known to report, from earlier runs of the same task.
        seed: of the random configs.

    Raises:
        ValueError: the space is empty, or a known config is not legal.
    """

    def __init__(
        self,
        searcher: Searcher,
        parameters: Sequence[Parameter],
        *,
        identity: Identity | None = None,
        known: Sequence[tuple[Config, Answer]] = (),
        seed: int = 0,
    ) -> None:
        self._searcher = searcher
        self._encoding = Encoding(parameters)
        self._novelty = Novelty(self._encoding, identity, ())
        self._seed = seed
        self._answers: dict[str, Answer] = {}
        self._trial_key: dict[str, str] = {}  # of the trials in flight
        self._followers: dict[
            str, list[str]
        ] = {}  # by key: the searcher's trials that wait for one in flight
        self._duplicates = 0
        self._asked: list[list[Any]] = []  # for the last config: what the searcher proposed and worked out
        self._recalled: dict[str, Any] | None = None
        for config, answer in known:
            vector = self._encoding.encode(config)
            self._novelty.take(vector)
            self._answers[self._novelty.key(vector)] = answer

    def ask(self, trial: str, given: Config | None = None) -> Config | None:
        """The config given, or one not suggested before; None when the searcher or the space is exhausted."""
        if given is not None:
            return self._take(trial, given)
        name = trial
        self._asked = []
        for _ in range(_ANSWERED):
            proposal = self._searcher.ask(name)
            if proposal is None:
                return None
            self._asked.append([deepcopy(proposal), _worked_out(self._searcher)])
            vector = self._encoding.encode(proposal)
            config = self._novelty.take(vector)
            key = self._novelty.key(vector)
            if config is not None:
                return self._begin(trial, [name], key, config)
            self._answer(name, key)
            self._duplicates += 1
            name = f"{trial}/{self._duplicates}"
        self._asked.append([None, None])
        found = self._novelty.random(np.random.default_rng([self._seed, self._duplicates]))
        return self._begin(trial, [], self._novelty.key(found[0]), found[1]) if found else None

    def tell(self, trial: str, step: int, values: Mapping[str, float]) -> None:
        """Record a report, and hand it to the searcher for this trial and for those that follow it."""
        key = self._trial_key.get(trial)
        if key is not None:
            self._answers[key].reports.append((step, dict(values)))
            for name in self._followers[key]:
                self._searcher.tell(name, step, values)

    def end(self, trial: str, outcome: Outcome) -> None:
        """Record the end, and hand it to the searcher for this trial and for those that follow it."""
        key = self._trial_key.pop(trial, None)
        if key is not None:
            self._answers[key].outcome = outcome
            for name in self._followers.pop(key):
                self._searcher.end(name, outcome)

    def worked_out(self) -> dict[str, Any] | None:
        """The duplicates that came before the last config, and what the searcher worked out for it."""
        asked, self._asked = self._asked, []
        return {"asked": asked} if len(asked) > 1 or (asked and asked[0][1]) else None

    def recall(self, worked: Mapping[str, Any]) -> None:
        """Take over what came before the config that is given next.

        Raises:
            ValueError, KeyError, TypeError: it has another form.
        """
        for proposal, _ in worked["asked"]:
            if proposal is not None:
                self._encoding.encode(proposal)
        self._recalled = dict(worked)

    def state(self) -> dict[str, Any]:
        """The record and the searcher's own state."""
        return {
            "searcher": self._searcher.state(),
            "novelty": self._novelty.state(),
            "answers": {
                key: {"reports": [list(r) for r in a.reports], "outcome": a.outcome}
                for key, a in self._answers.items()
            },
            "trials": dict(self._trial_key),
            "followers": {key: list(names) for key, names in self._followers.items()},
            "duplicates": self._duplicates,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._searcher.load(state["searcher"])
        self._novelty.load(**state["novelty"])
        self._answers = {
            key: Answer([(step, dict(values)) for step, values in a["reports"]], a["outcome"])
            for key, a in state["answers"].items()
        }
        self._trial_key = dict(state["trials"])
        self._followers = {key: list(names) for key, names in state["followers"].items()}
        self._duplicates = state["duplicates"]

    def _take(self, trial: str, given: Config) -> Config:
        """A config that somebody else chose goes out, also where its variant was evaluated before."""
        recalled, self._recalled = self._recalled or {"asked": [[given, None]]}, None
        *duplicates, (last, worked) = recalled["asked"]
        name, self._asked = trial, []
        for proposal, its in duplicates:
            _recall(self._searcher, its)
            self._searcher.ask(name, proposal)
            self._answer(name, self._novelty.key(self._encoding.encode(proposal)))
            self._duplicates += 1
            name = f"{trial}/{self._duplicates}"
        if last is not None:
            _recall(self._searcher, worked)
            self._searcher.ask(name, given)
        vector, config = self._novelty.given(given)
        key = self._novelty.key(vector)
        names = [name] if last is not None else []
        return self._begin(trial, names, f"{key} {trial}" if key in self._answers else key, config)

    def _begin(self, trial: str, names: list[str], key: str, config: Config) -> Config:
        """A new variant goes out as ``trial``; the searcher knows it by these names."""
        self._trial_key[trial] = key
        self._followers[key] = names
        self._answers[key] = Answer()
        return config

    def _answer(self, name: str, key: str) -> None:
        """Tell the searcher what is known of a variant that it proposed again."""
        answer = self._answers.get(key, Answer())  # none: a journal that was repaired lacks it
        for step, values in answer.reports:
            self._searcher.tell(name, step, values)
        if answer.outcome is not None:
            self._searcher.end(name, answer.outcome)
        else:
            self._followers.get(key, []).append(name)


def _worked_out(searcher: Searcher) -> dict[str, Any] | None:
    return searcher.worked_out() if isinstance(searcher, Recalling) else None


def _recall(searcher: Searcher, worked: Mapping[str, Any] | None) -> None:
    if worked is not None and isinstance(searcher, Recalling):
        searcher.recall(worked)
