"""Networks that differ in the ratios of their parts alone, each trained in full: a run without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray import tune

from raysearch.described import describe
from raysearch.objectives import Goals, Objective
from raysearch.runs.conditions import Conditions
from raysearch.runs.session import Work
from raysearch.schedulers.full_training import FullTraining
from raysearch.search_spaces.space import Space
from raysearch.searchers.base import Config
from raysearch.searchers.fixed import FixedList
from raysearch.study import usual_grace


@dataclass(frozen=True)
class Points:
    """Pruned networks to train and measure; make them with ``points_of``.

    Attributes:
        conditions: what holds for each.
        quality: of a network, beside its size and latency.
        space: of the ratios that occur.
        configs: one a network, no variant twice.
    """

    conditions: Conditions
    quality: Objective
    space: Space
    configs: list[Config]

    @property
    def work(self) -> Work:
        """The points as what a run is to do.

        It is described as a study whose first trials, as many as it has, are the points.
        """
        conditions = self.conditions
        method = {
            "searcher": "random",
            "scheduler": "full_training",
            "evaluate_first": self.configs,
            "grace": usual_grace(conditions.epochs),
        }
        target = conditions.targets[0]
        others = ["minimize size_mb", f"minimize latency_ms/{target.name}"]
        goals = Goals.parse([str(self.quality), *others], last_step=conditions.last_step)
        goals.check_reported(*conditions.reported())
        return Work(
            describe(conditions, self.space, goals, method),
            conditions,
            self.space,
            {"parent": conditions.parent},
            goals,
            searcher=lambda goals: FixedList(self.configs),
            scheduler=lambda goals: FullTraining(),
            origin=lambda key: "given",
        )


def points_of(
    conditions: Conditions,
    quality: Objective,
    ratios: Sequence[Mapping[str, float]],
    multiple: int | None,
) -> Points:
    """The network of each mapping of every part to its ratio; those of equal channels are one.

    Args:
        conditions: what holds for each.
        quality: see ``Points``.
        ratios: the share of channels to remove from each part, in [0, 1).
        multiple: kept channels are multiples of this; None: what the targets like.

    Raises:
        ValueError: a part or a ratio that the model does not allow.
    """
    parts = {part: tune.choice(sorted({0.0, *(r[part] for r in ratios)})) for part in ratios[0]}
    pruning = {"ratios": parts} if multiple is None else {"ratios": parts, "multiple": multiple}
    space = conditions.bind({"pruning": pruning})
    configs = [space.completed({"pruning": {"ratios": dict(r)}}, conditions.parent) for r in ratios]
    first_of_key: dict[str, Config] = {}
    for config in configs:
        first_of_key.setdefault(space.variant(config).key, config)
    return Points(conditions, quality, space, list(first_of_key.values()))
