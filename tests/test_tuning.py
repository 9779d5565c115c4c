"""Ray Tune's side of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch
from trial_setup import make_setup

from raysearch import tuning


def test_trials_fit_as_often_as_the_scarcest_resource_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 1.0})
    assert tuning.workers({"cpu": 1, "gpu": 0}) == 8
    assert tuning.workers({"cpu": 1, "gpu": 0.25}) == 4
    with pytest.raises(ValueError, match=r"resources.gpu is 2 a trial, and the cluster has 1"):
        tuning.workers({"cpu": 1, "gpu": 2})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Task was killed due to the node running low on memory.", "the machine ran low on memory"),
        ("The actor is dead because its worker process has died.", "it was killed"),
        ("", "no reason is known"),
    ],
)
def test_a_dead_workers_last_words(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "error.txt").write_text(text)
    trial: Any = SimpleNamespace(error_file=str(tmp_path / "error.txt"))
    assert tuning._last_words(trial).startswith(words)


@pytest.mark.cluster
@pytest.mark.parametrize("searcher", ["optuna", "random"])
def test_spaces_work_with_tunes_own_searchers(searcher: str, tmp_path: Path) -> None:
    space = make_setup(tmp_path).space

    def decode(config: dict[str, Any]) -> dict[str, float]:
        plan = space.decode(config)
        return {"parts": float(len(plan.architecture.parts()))}  # type: ignore[union-attr]

    algorithm: Any = OptunaSearch() if searcher == "optuna" else BasicVariantGenerator(random_state=0)
    with tuning.cluster():
        results = tune.Tuner(
            decode,
            param_space=dict(space.domains),
            tune_config=tune.TuneConfig(search_alg=algorithm, num_samples=4, metric="parts", mode="max"),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        ).fit()
    assert not results.errors
    assert len({space.key(r.config) for r in results}) > 1
