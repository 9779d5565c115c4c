"""A pure searcher and a pure scheduler in a plain ``ray.tune.Tuner``, without the rest of raysearch."""

from __future__ import annotations

import pytest
from ray import tune

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.schedulers.tune import TuneScheduler, numbers
from raysearch.searchers.nsga2 import NSGA2
from raysearch.searchers.tune import TuneSearcher, parameters_of

EPOCHS = 9
TRIALS = 12


class Curve(tune.Trainable):
    """A learning curve that depends on the config alone."""

    def setup(self, config):
        self.config, self.epoch = config, 0

    def reset_config(self, new_config):
        self.setup(new_config)
        return True

    def step(self):
        self.epoch += 1
        x, y = self.config["a"]["x"], self.config["a"]["y"]
        return {"error": (1 - x) + 1 / self.epoch, "size": x + y, "done": self.epoch == EPOCHS}

    def save_checkpoint(self, checkpoint_dir):
        return {}


class Ends:
    """Notes what a scheduler or searcher is told of ends."""

    def __init__(self, inner):
        self.inner, self.ends, self.reports = inner, {}, {}

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def decide(self, trial, step, values):
        self.reports.setdefault(trial, []).append(step)
        return self.inner.decide(trial, step, values)

    def end(self, trial, outcome):
        self.ends[trial] = outcome
        self.inner.end(trial, outcome)


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_pure_algorithms_run_in_a_plain_tuner(tmp_path):
    goals = Goals.parse(["minimize error", "minimize size"], last_step=EPOCHS)
    space = {"a": {"x": tune.uniform(0, 1), "y": tune.randint(1, 5)}}
    scheduler = Ends(SuccessiveHalving(goals, max_step=EPOCHS))
    searcher = Ends(NSGA2(parameters_of(space), goals, seed=0, population=4))
    adapter = TuneScheduler(scheduler)
    results = tune.Tuner(
        Curve,
        tune_config=tune.TuneConfig(
            search_alg=TuneSearcher(searcher, last_step=EPOCHS),
            scheduler=adapter,
            num_samples=TRIALS,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    assert results.num_errors == 0
    assert adapter.error is None
    assert len(results) == TRIALS
    epochs = [r.metrics["training_iteration"] for r in results]
    assert min(epochs) < EPOCHS, "nothing was stopped"
    assert max(epochs) == EPOCHS, "nothing finished"
    assert sorted(scheduler.ends.values()) == sorted(searcher.ends.values())
    assert set(scheduler.ends.values()) == {"finished", "stopped"}
    assert list(scheduler.ends.values()).count("finished") == epochs.count(EPOCHS)


def test_only_numbers_are_values():
    assert numbers({"a": 1, "b": 2.5, "done": True, "name": "x", "list": [1]}) == {"a": 1.0, "b": 2.5}


class _Trial:
    trial_id = "t"


def test_a_result_without_the_step_is_not_decided_on():
    scheduler = Ends(FullTraining())
    adapter = TuneScheduler(scheduler, step="epoch")
    assert adapter.on_trial_result(None, _Trial, {"loss": 1.0}) == TuneScheduler.CONTINUE
    assert scheduler.reports == {}


def test_a_stop_ends_the_trial_once():
    class Stop(FullTraining):
        def decide(self, trial, step, values):
            return Decision.STOP

    scheduler = Ends(Stop())
    adapter = TuneScheduler(scheduler, step="epoch")
    assert adapter.on_trial_result(None, _Trial, {"epoch": 1}) == TuneScheduler.STOP
    adapter.on_trial_complete(None, _Trial, {"epoch": 1})
    assert scheduler.ends == {"t": "stopped"}
    assert scheduler.reports == {"t": [1]}
