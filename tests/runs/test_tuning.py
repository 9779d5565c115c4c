"""Ray Tune's side of a run."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import cloudpickle, tune
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch
from trial_setup import PARENT, make_setup

from raysearch import storage
from raysearch.backends.measurement.devices import start_service
from raysearch.backends.measurement.protocol import Protocol
from raysearch.basics.disk import StorageError
from raysearch.basics.failures import RunError, UserError
from raysearch.networks.running import TimeLimitExceeded
from raysearch.record.journal import FILE_NAME, Journal, read
from raysearch.record.run_record import RunRecord
from raysearch.runs import tuning
from raysearch.runs.cluster.demand import Demand
from raysearch.runs.cluster.workers import Workers
from raysearch.runs.conducting.conductor import Conductor
from raysearch.schedulers.base import Decision
from raysearch.schedulers.full_training import FullTraining
from raysearch.searchers.fixed import FixedList
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.task import accuracy


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: Any) -> None:
        raise ConnectionError("could not connect\nmore")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    sentence = "RAY_ADDRESS is 10.0.0.1:6379, and no cluster answers there: could not connect$"
    with pytest.raises(UserError, match=sentence), tuning.cluster():
        pass


def test_a_machine_that_is_too_busy_for_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RunError, match="Ray's processes did not start in time"), tuning.cluster():
        pass


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Task was killed due to the node running low on memory.", "the machine ran low on memory"),
        ("The actor is dead because its worker process has died.", "it was killed"),
        ("", "no reason is known"),
    ],
)
def test_a_dead_workers_last_words(text: str, words: str) -> None:
    assert tuning._last_words(text).startswith(words)


def test_what_tune_pickles_holds_nothing_of_the_users_program() -> None:
    lock = threading.Lock()  # as a handler of signals may hold
    stopper = tuning._Stopper(SimpleNamespace(stopped=False), lambda: lock.locked())  # type: ignore[arg-type]
    assert not stopper.stop_all()
    pickle.loads(cloudpickle.dumps(stopper))


@pytest.mark.cluster
@pytest.mark.parametrize("searcher", ["optuna", pytest.param("random", marks=pytest.mark.slow)])
def test_spaces_work_with_tunes_own_searchers(searcher: str, tmp_path: Path) -> None:
    space = make_setup(tmp_path).space

    def decode(config: dict[str, Any]) -> dict[str, float]:
        plan = space.variant(config).plan
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
    assert len({space.variant(r.config).key for r in results}) > 1


ONE = Workers(Demand({"CPU": 1}), 1)


@pytest.mark.parametrize(
    ("has_more", "lets_go", "kept"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_worker_is_kept_for_the_next_trial_only_while_it_is_the_studys(
    has_more: bool, lets_go: bool, kept: bool
) -> None:
    asked: list[tuple[str, int]] = []

    def let_go(node: str, at_work: int) -> bool:
        asked.append((node, at_work))
        return lets_go

    conductor: Any = SimpleNamespace(has_more=has_more, in_flight=3, fail=lambda *what: None)
    workers: Any = SimpleNamespace(lets_go=let_go)
    trial: Any = SimpleNamespace(trial_id="t")
    actors = SimpleNamespace(get=lambda trial: "actor")
    controller = SimpleNamespace(_started_actors={"actor"}, _trial_to_actor=actors)
    told = {"failure": "x", "traceback": "", "stuck": False, "node": "n"}
    result = {f"raysearch/{key}": value for key, value in told.items()}  # as Tune hands it on
    tuning._ConductorScheduler(conductor, workers).on_trial_complete(controller, trial, result)
    assert controller._started_actors == ({"actor"} if kept else set())
    assert asked == ([("n", 3)] if has_more else [])


def test_what_callbacks_write_stays_in_a_bucket_across_sessions_and_errors() -> None:
    run = storage.Remote(f"memory://{uuid.uuid4().hex}/run")

    def add(text: str) -> None:
        with tuning._place(run) as place:
            file = Path(place) / "trial" / "0000" / "result.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as opened:
                opened.write(text)
            (Path(place) / "trial" / "tuner.pkl").write_text("of Tune alone")
            if text == "third":
                raise KeyboardInterrupt

    add("first")
    add("second")
    with pytest.raises(KeyboardInterrupt):
        add("third")
    assert storage.read(run / "tune" / "trial" / "0000" / "result.json") == b"firstsecondthird"
    assert storage.names(run / "tune" / "trial") == ["0000"]


class LateSecond(FullTraining):
    """Pauses every trial after its first epoch, and lets the first go on when the third was paused."""

    def __init__(self) -> None:
        self.paused = 0
        self.promoted = False

    def decide(self, trial: str, step: int, values: Any) -> Decision:
        self.paused += step == 1
        return Decision.PAUSE if step == 1 else Decision.CONTINUE

    def promote(self) -> str | None:
        if self.promoted or self.paused < 3:
            return None
        self.promoted = True
        return "0000"


def make_conductor(folder: Path, setup: Any, configs: list[Any], scheduler: Any) -> Conductor:
    """A conductor over these configs, gone on with where the folder holds one."""
    record = RunRecord()
    events = list(read(folder)) if (folder / FILE_NAME).exists() else []
    for event in events:
        record.apply(event)
    conductor = Conductor(
        Journal(folder),
        record,
        FixedList(configs),
        scheduler,
        role="trial",
        variant=setup.space.variant,
        limit=len(configs),
        workers=lambda: 1,
        last_step=setup.last_step,
        origin=lambda key: "fixed",
    )
    conductor.replay(events)
    return conductor


@pytest.fixture
def setup(tmp_path: Path, cluster: None) -> Iterator[TrialSetup]:
    setup = replace(make_setup(tmp_path / "run"), service=f"measurement-{uuid.uuid4().hex}")
    service = start_service(setup.service, Protocol(round_samples=6, min_rounds=1, max_rounds=1, warm_s=0.0))
    yield setup
    service.stop()


@pytest.mark.slow
@pytest.mark.cluster
def test_a_run_whose_trial_cannot_be_saved_stops_and_goes_on_with_it(
    tmp_path: Path, setup: TrialSetup
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "trials").write_text("")  # in the way of the trials' folders
    conductor = make_conductor(run, setup, [PARENT], FullTraining())
    with pytest.raises(StorageError, match=f"{run}/trials/0000 cannot be written: Not a directory"):
        tuning.conduct(conductor, setup, ONE)
    conductor.journal.close()
    trials = RunRecord.load(run).trials
    assert [(t.name, t.outcome, t.step) for t in trials.values()] == [("0000", None, -1)]
    (run / "trials").unlink()
    conductor = make_conductor(run, setup, [PARENT], FullTraining())
    tuning.conduct(conductor, setup, ONE)
    assert conductor.complete
    assert RunRecord.load(run).trials["0000"].outcome == "finished"


@pytest.mark.cluster
def test_a_trial_that_misses_a_reference_is_not_at_its_end_and_none_begins_after_it(
    tmp_path: Path, setup: TrialSetup
) -> None:
    run, made = tmp_path / "run", replace(setup, made=frozenset({"parent"}))
    configs = [{**PARENT, "training": {"lr": lr, "batch_size": 64}} for lr in (1e-3, 2e-3)]
    conductor = make_conductor(run, setup, configs, FullTraining())
    tuning.conduct(conductor, made, ONE)
    assert conductor.lost == "parent"
    assert [(t.outcome, t.step) for t in RunRecord.load(run).trials.values()] == [(None, -1)]


NAMES = ("lost", "node", "unsaved", "failure", "stuck", "metrics", "values")


@pytest.mark.slow
@pytest.mark.cluster
def test_no_name_of_a_metric_is_taken_for_what_a_trial_tells_the_study(
    tmp_path: Path, setup: TrialSetup
) -> None:
    setup = replace(setup, task=replace(setup.task, metrics=dict.fromkeys(NAMES, accuracy)), epochs=1)
    conductor = make_conductor(tmp_path / "run", setup, [PARENT], FullTraining())
    tuning.conduct(conductor, setup, ONE)
    assert conductor.complete
    assert not conductor.lost
    assert conductor.error is None
    [trial] = RunRecord.load(tmp_path / "run").trials.values()
    assert trial.outcome == "finished"
    assert {name: trial.values[name] for name in NAMES} == dict.fromkeys(NAMES, trial.values["lost"])
    assert all(f"{name}/onnxruntime-cpu" in trial.values for name in NAMES)


def hanging(plan: Any) -> Any:
    raise TimeLimitExceeded(f"hung in process {os.getpid()}")


@pytest.mark.slow
@pytest.mark.cluster
def test_a_process_in_which_work_may_go_on_is_not_given_to_the_next_trial(
    tmp_path: Path, setup: TrialSetup
) -> None:
    setup = replace(setup, task=replace(setup.task, model=hanging))
    configs = [{**PARENT, "training": {"lr": lr, "batch_size": 64}} for lr in (1e-3, 2e-3)]
    tuning.conduct(make_conductor(tmp_path / "run", setup, configs, FullTraining()), setup, ONE)
    trials = list(RunRecord.load(tmp_path / "run").trials.values())
    assert {t.outcome for t in trials} == {"failed"}
    assert all(t.reason.startswith("TimeLimitExceeded: hung in process ") for t in trials)
    assert trials[0].reason != trials[1].reason
    assert all("in hanging" in (tmp_path / "run" / t.traceback).read_text() for t in trials)


class Deadly:
    """The accuracy, of which a worker dies once for each file "<reports so far>-<anything>" of the run."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def __call__(self, outputs: Any, targets: Any) -> float:
        reports = (self.run / FILE_NAME).read_text().count('"event": "report"')
        for order in sorted(self.run.glob(f"{reports}-*"))[:1]:
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return accuracy(outputs, targets)


@pytest.mark.cluster
@pytest.mark.slow  # six workers that die and start again
def test_a_trial_fails_of_deaths_in_a_row_at_one_step_not_of_those_of_a_whole_search(
    tmp_path: Path, setup: TrialSetup
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for order in ("0-a", "0-b", "1-a", "1-b", "1-c", "1-d", "1-e"):
        (run / order).touch()
    setup = replace(setup, task=replace(setup.task, metrics={"accuracy": Deadly(run)}))
    tuning.conduct(make_conductor(run, setup, [PARENT], FullTraining()), setup, ONE)
    (trial,) = RunRecord.load(run).trials.values()
    assert [path.name for path in run.glob("?-?")] == ["1-e"]  # two deaths at step 0, then four at step 1
    assert (trial.outcome, list(trial.reports)) == ("failed", [0])
    assert trial.reason.startswith("its worker died 4 times in a row at one step: it was killed")


@pytest.mark.cluster
def test_a_run_pauses_promotes_and_ends_its_trials(tmp_path: Path, setup: TrialSetup) -> None:
    configs = [{**PARENT, "training": {"lr": lr, "batch_size": 64}} for lr in (1e-3, 2e-3, 3e-3)]
    conductor = make_conductor(tmp_path / "run", setup, configs, LateSecond())
    tuning.conduct(conductor, setup, ONE)
    assert conductor.complete
    trials = RunRecord.load(tmp_path / "run").trials
    assert {name: trial.outcome for name, trial in trials.items()} == {
        "0000": "finished",
        "0001": "stopped",
        "0002": "stopped",
    }
    assert [list(trial.reports) for trial in trials.values()] == [[0, 1, 2, 3], [0, 1], [0, 1]]
    assert [path.name for path in (tmp_path / "run" / "variants").iterdir()] == ["0000"]
