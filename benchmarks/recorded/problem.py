"""Recorded trials as a problem of the simulator: what a trial of any config reports, and what it costs.

A config that was recorded reports what it did; what was not measured of it (see ``record``) is predicted, the
accuracy of its file that of the network. Any other reports what a forest of regression trees predicts
of it, plus the difference between a recorded trial, drawn by the config's key, and what trees that had not
seen that trial predict of it: so curves are as uneven, and as hard to foresee, as real ones. Sizes and
operations are counted.

References:
    Pfisterer, F., Schneider, L., Moosbauer, J., Binder, M., & Bischl, B. (2022). YAHPO Gym: an efficient
        multi-objective multi-fidelity benchmark for hyperparameter optimization. (surrogates of such tables)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import Floats
from benchmarks.recorded.network import Network, network_of
from benchmarks.recorded.studies import EPOCHS, OBJECTIVES, TARGET, parent_of, space_of
from raysearch.backends import get
from raysearch.objectives import Goals
from raysearch.pareto import hypervolume
from raysearch.record.scores import REFERENCE_MARGIN
from raysearch.search_spaces.binding import bind
from raysearch.search_spaces.bit_widths import precision_prior
from raysearch.search_spaces.plans import Variant
from raysearch.searchers import make_searcher
from raysearch.searchers.base import Searcher
from raysearch.searchers.tune import parameters_of
from raysearch.simulation import Problem

_TREES = 100
_VALIDATION = {"digits": 359, "cifar10": 1000}  # images that accuracy is a share of
_IMAGES = {"digits": (8, 1), "cifar10": (16, 3)}  # side and channels
_SLOWEST = 3.0  # medians: a step that took longer waited for something


class Recorded:
    """A study's recorded trials.

    Args:
        name: "digits" or "cifar10".
        table: of ``benchmarks.recorded.record``; None: the one that lies here.

    Attributes:
        space: the study's, bound.
        parent: its parent's config.
    """

    def __init__(self, name: str, table: pd.DataFrame | None = None) -> None:
        self.name, self.epochs, self.parent = name, EPOCHS[name], parent_of(name)
        self.space = bind(space_of(name), parent=self.parent, channel_multiple=get(TARGET).channel_multiple)
        if table is None:
            table = pd.read_parquet(Path(__file__).with_name(f"{name}.parquet"))
        is_parent = table["config"].str.startswith("parent")
        self.trials, self._references = table[~is_parent].reset_index(drop=True), table[is_parent]
        self._known = {config: i for i, config in enumerate(self.trials["config"])}
        self._found: dict[str, Floats] = {}

    def searcher(self, choice: Any, goals: Goals, seed: int, initial: Sequence[dict[str, Any]]) -> Searcher:
        """A fresh searcher over the space, as a study would make it."""

        def identity(config: dict[str, Any]) -> tuple[str, frozenset[str]]:
            variant = self.space.variant(config)
            return variant.key, variant.active

        priors = precision_prior(self.space.searched, get(TARGET).integers)
        parameters = parameters_of(self.space.domains, priors)
        return make_searcher(choice, parameters, goals, seed=seed, initial=initial, identity=identity)

    @property
    def columns(self) -> list[str]:
        """What is predicted: the accuracy at each step, the latency, the seconds of each step."""
        steps = range(self.epochs + 2)
        return [*(f"accuracy@{s}" for s in steps), f"latency_ms/{TARGET}", *(f"seconds@{s}" for s in steps)]

    @cached_property
    def _targets(self) -> Floats:
        """Of the recorded trials, shape (n, columns)."""
        found = self.trials[self.columns].to_numpy(dtype=np.float64, copy=True)
        seconds = [column.startswith("seconds") for column in self.columns]
        slowest = _SLOWEST * np.nanmedian(found[:, seconds], axis=0)
        found[:, seconds] = np.clip(found[:, seconds], 1e-3, slowest)
        logs = [not column.startswith("accuracy") for column in self.columns]
        found[:, logs] = np.log(found[:, logs])
        last = self.epochs + 1
        found[:, last] = np.where(np.isnan(found[:, last]), found[:, last - 1], found[:, last])
        missing = np.isnan(found).any(axis=1)
        if missing.any():
            known = self._trees().fit(self._features[~missing], found[~missing])
            found = np.where(np.isnan(found), known.predict(self._features), found)
        return found

    @property
    def latencies(self) -> Floats:
        """Of the recorded trials in milliseconds, shape (n,)."""
        latencies: Floats = np.exp(self._targets[:, self.epochs + 2])
        return latencies

    @cached_property
    def _features(self) -> Floats:
        return np.array([self.network(json.loads(c)).features for c in self.trials["config"]])

    @cached_property
    def _forest(self) -> Any:
        return self._trees().fit(self._features, self._scaled(self._targets))

    def _trees(self) -> Any:
        from sklearn.ensemble import ExtraTreesRegressor

        return ExtraTreesRegressor(
            _TREES, bootstrap=True, oob_score=True, min_samples_leaf=2, max_features=0.5, random_state=0
        )

    @cached_property
    def _scale(self) -> Floats:
        return np.maximum(self._targets.std(axis=0), 1e-9)

    def _scaled(self, targets: Floats) -> Floats:
        scaled: Floats = targets / self._scale
        return scaled

    def unforeseen(self) -> dict[str, float]:
        """Of each column the share of its variance that trees which had not seen a trial explain."""
        left = self._targets - self._forest.oob_prediction_ * self._scale
        shares = 1 - left.var(axis=0) / self._targets.var(axis=0)
        return dict(zip(self.columns, shares.round(3).tolist(), strict=True))

    def network(self, config: dict[str, Any]) -> Network:
        """What the network of a canonical config is."""
        return network_of(config, self.parent["architecture"], *_IMAGES[self.name])

    def _row(self, variant: Variant) -> Floats:
        """The columns of a variant."""
        key = json.dumps(variant.config, sort_keys=True)
        if key in self._known:
            return self._targets[self._known[key]]
        if variant.key not in self._found:
            forest = self._forest
            predicted = forest.predict(np.array([self.network(variant.config).features]))[0] * self._scale
            drawn = int(variant.key, 16) % len(self._targets)
            residual = self._targets[drawn] - forest.oob_prediction_[drawn] * self._scale
            residual[self.epochs + 2 :] = 0  # what a network is decides its latency, not how it is trained
            self._found[variant.key] = predicted + residual
        return self._found[variant.key]

    def values(self, config: dict[str, Any], step: int) -> dict[str, float]:
        """What a trial reports at a step, 0 to E + 1."""
        variant = self.space.variant(config)
        row = self._row(variant)
        images = _VALIDATION[self.name]
        found = {"accuracy": float(np.clip(round(row[step] * images) / images, 0, 1))}
        if step == 0:
            network = self.network(variant.config)
            found |= {f"latency_ms/{TARGET}": float(np.exp(row[self.epochs + 2]))}
            found |= {"size_mb": network.size_mb, "macs": network.macs}
        return found

    def cost(self, config: dict[str, Any], step: int) -> float:
        """The seconds of a step."""
        return float(np.exp(self._row(self.space.variant(config))[self.epochs + 3 + step]))

    @property
    def problem(self) -> Problem:
        """As the simulator takes it."""
        return Problem(self.values, self.epochs + 1, first_step=0, cost=self.cost)

    @cached_property
    def parent_figures(self) -> Floats:
        """The parent's accuracy, latency and size."""
        row = self._references[self._references["config"] == "parent"].iloc[0]
        accuracy = row[[c for c in row.index if c.startswith("accuracy@")]].dropna().iloc[-1]
        return np.array([accuracy, row[f"latency_ms/{TARGET}"], row["size_mb"]], dtype=np.float64)

    @property
    def goals(self) -> Goals:
        """Of a search, the worst figures that count included."""
        accuracy, latency, size = self.parent_figures
        margin = 1 + REFERENCE_MARGIN
        worst = [accuracy * (1 - REFERENCE_MARGIN), latency * margin, size * margin]
        goals = Goals.parse(OBJECTIVES, last_step=self.epochs + 1)
        return replace(goals, reference=dict(zip(goals.metrics, map(float, worst), strict=True)))

    def hypervolume(self, points: Floats) -> float:
        """Of points (k, 3) of accuracy, latency and size, in units of the parent, as a report has it."""
        costs = points * [-1, 1, 1] / self.parent_figures
        return hypervolume(costs, np.array([-1, 1, 1]) + REFERENCE_MARGIN)
