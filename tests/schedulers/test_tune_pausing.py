"""Pausing and promotion in a plain ``ray.tune.Tuner``: every epoch is trained once, and every run ends."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.experiment import Trial

from raysearch.objectives import Goals
from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.schedulers.successive_halving import SuccessiveHalving
from raysearch.schedulers.tune import TuneScheduler
from raysearch.searchers.fixed import FixedList
from raysearch.searchers.tune import TuneSearcher

EPOCHS = 9
GOALS = Goals.parse(["minimize error"], last_step=EPOCHS)
ERRORS = (1.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0, 5.0, 9.0)


def note(config: dict[str, Any], what: str) -> None:
    """One line in a file that all workers share."""
    with Path(config["log"]).open("a") as log:
        log.write(f"{config['row']} {what}\n")


def die_once(config: dict[str, Any], where: str) -> None:
    """Kill this worker where the config says so, the first time."""
    marker = Path(f"{config['log']}.{config['row']}")
    if config.get("dies") == where and not marker.exists():
        marker.touch()
        os._exit(1)


class Curve(tune.Trainable):
    """Trains by noting the epoch; its checkpoint is the epoch."""

    def setup(self, config):
        self.config, self.epoch = config, 0

    def reset_config(self, new_config):
        self.setup(new_config)
        return True

    def step(self):
        self.epoch += 1
        die_once(self.config, f"epoch {self.epoch}")
        note(self.config, f"{self.epoch}")
        return {"error": self.config["error"] + 1 / self.epoch, "done": self.epoch == EPOCHS}

    def save_checkpoint(self, checkpoint_dir):
        die_once(self.config, f"save {self.epoch}")
        return {"epoch": self.epoch}

    def load_checkpoint(self, checkpoint):
        self.epoch = checkpoint["epoch"]


def curve(config):
    """The same as a function."""
    start, checkpoint = 0, tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start = json.loads((Path(folder) / "epoch.json").read_text())
    for epoch in range(start + 1, EPOCHS + 1):
        note(config, f"{epoch}")
        folder = Path(f"{config['log']}.{config['row']}.{epoch}")
        folder.mkdir()
        (folder / "epoch.json").write_text(json.dumps(epoch))
        tune.report(
            {"error": config["error"] + 1 / epoch}, checkpoint=tune.Checkpoint.from_directory(str(folder))
        )


class Recorder:
    """Notes what a scheduler decides, promotes and is told."""

    def __init__(self, inner):
        self.inner, self.paused, self.promoted, self.ends = inner, Counter(), Counter(), {}

    def decide(self, trial, step, values):
        decision = self.inner.decide(trial, step, values)
        self.paused[trial] += decision is Decision.PAUSE
        return decision

    def promote(self):
        trial = self.inner.promote()
        if trial:
            self.promoted[trial] += 1
        return trial

    def end(self, trial, outcome):
        assert trial not in self.ends
        self.ends[trial] = outcome
        self.inner.end(trial, outcome)


def fit(tmp_path, trainable, *, reuse=True, dies=None, errors=ERRORS, **tune_config):
    """Run one trial per error; returns the scheduler and the epochs trained, as (row, epoch)."""
    log = tmp_path / "log"
    log.touch()
    scheduler = Recorder(SuccessiveHalving(GOALS, max_step=EPOCHS, form="promote"))
    rows = [{"row": i, "error": e, "log": str(log), **(dies or {}).get(i, {})} for i, e in enumerate(errors)]
    searcher = FixedList(rows)
    ends: dict[str, str] = {}
    searcher.end = lambda trial, outcome: ends.update({trial: outcome})  # type: ignore[method-assign]
    adapter = TuneScheduler(scheduler)
    results = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=TuneSearcher(searcher, last_step=EPOCHS),
            scheduler=adapter,
            num_samples=99,
            reuse_actors=reuse,
            **tune_config,
        ),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path / "tune"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False) if trainable is Curve else None,
        ),
    ).fit()
    assert adapter.error is None
    assert results.num_errors == 0
    assert len(results) == len(errors)
    assert ends == scheduler.ends
    return scheduler, [line.split() for line in log.read_text().splitlines()]


def epochs_of(lines, row):
    return [int(epoch) for r, epoch in lines if int(r) == row]


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("trainable", [Curve, curve])
def test_every_epoch_is_trained_once(tmp_path, trainable):
    promoted = 0
    for attempt in range(3):  # whether one is promoted late is also a matter of the workers' pace
        folder = tmp_path / str(attempt)
        folder.mkdir()
        scheduler, lines = fit(folder, trainable)
        for row in range(len(ERRORS)):
            epochs = epochs_of(lines, row)
            assert epochs == list(range(1, len(epochs) + 1))
            assert len(epochs) in (1, 3, 9)
        outcomes = Counter(scheduler.ends.values())
        assert outcomes["finished"] == sum(epoch == str(EPOCHS) for _, epoch in lines) > 0
        assert outcomes["stopped"] == scheduler.paused.total() - scheduler.promoted.total() > 0
        promoted = scheduler.promoted.total()
        if promoted:
            break
    assert promoted > 0, "none was promoted late"


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_a_trial_whose_worker_dies_is_tried_again(tmp_path):
    dies = {1: {"dies": "save 1"}, 0: {"dies": "epoch 5"}}
    scheduler, lines = fit(
        tmp_path, Curve, errors=[1.0, 5.0, 4.0], dies=dies, reuse=False, max_concurrent_trials=1
    )
    assert epochs_of(lines, 1) == [1, 1], "paused again where its worker died while it was saved"
    assert epochs_of(lines, 0)[-5:] == [5, 6, 7, 8, 9]
    assert sorted(scheduler.ends.values()) == ["finished", "stopped", "stopped"]


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_a_limit_on_concurrent_trials_does_not_hang(tmp_path):
    scheduler, _ = fit(tmp_path, Curve, errors=[1.0, 2.0, 3.0, 4.0], max_concurrent_trials=2)
    assert "finished" in scheduler.ends.values()


class Held(FullTraining):
    """Pauses every trial and promotes the one it is told to."""

    def __init__(self):
        self.next = None

    def decide(self, trial, step, values):
        return Decision.PAUSE

    def promote(self):
        trial, self.next = self.next, None
        return trial


def fake_trial(name: str, status: str = Trial.RUNNING) -> Any:
    return SimpleNamespace(trial_id=name, status=status, is_saving=False)


def test_a_trial_promoted_while_it_is_saved_comes_when_that_is_done():
    adapter, trial, controller = TuneScheduler(pure := Held()), fake_trial("a"), SimpleNamespace()
    adapter.on_trial_add(controller, trial)
    assert adapter.on_trial_result(controller, trial, {"training_iteration": 1}) == TuneScheduler.PAUSE
    trial.is_saving, pure.next = True, "a"
    assert adapter.choose_trial_to_run(controller) is None
    trial.is_saving, trial.status = False, Trial.PAUSED
    assert adapter.choose_trial_to_run(controller) is trial
    trial.status = Trial.PENDING
    assert adapter.choose_trial_to_run(controller) is trial, "until it runs, so that it comes first"
    trial.status = Trial.RUNNING
    assert adapter.choose_trial_to_run(controller) is None
    assert adapter.on_trial_result(controller, trial, {"training_iteration": 2}) == TuneScheduler.PAUSE


def test_leftovers_are_stopped_only_when_nothing_is_active():
    adapter, stopped = TuneScheduler(Held()), []
    controller = SimpleNamespace(stop_trial=stopped.append)
    paused, running = fake_trial("a"), fake_trial("b")
    for trial in (paused, running):
        adapter.on_trial_add(controller, trial)
    adapter.on_trial_result(controller, paused, {"training_iteration": 1})
    paused.status = Trial.PAUSED
    adapter.choose_trial_to_run(controller)
    assert stopped == []
    adapter.on_trial_complete(controller, running, {})
    adapter.choose_trial_to_run(controller)
    assert stopped == [paused]
