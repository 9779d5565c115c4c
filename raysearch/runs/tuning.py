"""A Conductor's trials on Ray Tune: the cluster, the Tuner, and what Tune 2.60 needs to be told."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import ray
from ray import tune
from ray.tune.experiment import Trial

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.basics.environment import NO_DASHBOARD
from raysearch.basics.failures import RunError, UserError, first_line
from raysearch.metrics import RESULT_KEY
from raysearch.runs.carried import Carried
from raysearch.runs.cluster.demand import Demand
from raysearch.runs.cluster.workers import Workers
from raysearch.runs.conducting.conductor import Conductor
from raysearch.schedulers.base import Decision
from raysearch.schedulers.tune import TuneScheduler, numbers
from raysearch.searchers.tune import TuneSearcher
from raysearch.storage import Place
from raysearch.trainables.setup import TrialSetup

# What keeps the driver's cost a trial flat, and the terminal to the live table.
_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # The conductor says how many there are. Those that wait for a worker make nodes come.
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",
    # A user's data may be found by a path relative to where the study was started.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # The newer output prints a banner at every verbosity.
    "RAY_AIR_NEW_OUTPUT": "0",
    **NO_DASHBOARD,
}


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """The cluster that ``ray.init()`` or RAY_ADDRESS found, else one on this machine until the end."""
    os.environ.update({k: v for k, v in _SETTINGS.items() if k not in os.environ})
    # A trial's failure stands in the journal.
    silent = ("execution.tune_controller", "execution.insufficient_resources_manager", "tune")
    for name in (*silent, "analysis.experiment_analysis"):
        logging.getLogger(f"ray.tune.{name}").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise UserError(
            f"RAY_ADDRESS is {address}, and no cluster answers there: {first_line(error)}"
        ) from error
    except Exception as error:
        if "timed out during startup" not in str(error):  # Ray raises a plain Exception
            raise
        raise RunError(
            "Ray's processes did not start in time, as on a machine that is too busy: try again"
        ) from error
    # What Ray says of a worker that died it prints to the standard output, whatever it is told about logs.
    printing = mock.patch.object(ray._private.worker, "_worker_logs_enabled", False, create=True)
    try:
        with printing:
            yield
    finally:
        ray.shutdown()


def conduct(
    conductor: Conductor,
    setup: TrialSetup,
    workers: Workers,
    seconds: float = float("inf"),
    callbacks: Sequence[tune.Callback] = (),
    asked: Callable[[], bool] = lambda: False,
) -> None:
    """Let a conductor's trials run until they have ended, the seconds are over or somebody asks for the end.

    Args:
        conductor: of the trials.
        setup: what the trials are given.
        workers: what each takes of the cluster, and when a worker is not kept for the next.
        seconds: at most.
        callbacks: of Tune, the user's; the files they write for a trial go to ``tune/<role>/<trial>`` in the
            run's folder.
        asked: whether somebody asks for the end.

    Raises:
        StorageError: the journal or a trial's state could not be stored; its trials are not at their end.
        LeaseLost: another driver has taken the run over.
    """
    if conductor.complete or seconds <= 0 or asked():
        return
    scheduler = _ConductorScheduler(conductor, workers)
    # Tune would take the first Ctrl-C for itself; see signals.py.
    ours = mock.patch.dict(os.environ, TUNE_DISABLE_SIGINT_HANDLER="1")
    with ours, _place(setup.folder if callbacks else None) as place:
        tuner = tune.Tuner(
            _trainable(setup, workers.demand),
            tune_config=tune.TuneConfig(
                search_alg=TuneSearcher(conductor),
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_name_of,
                trial_dirname_creator=_name_of,
                time_budget_s=seconds if seconds < float("inf") else None,
            ),
            run_config=tune.RunConfig(
                storage_path=place,
                name=conductor.role,
                callbacks=list(callbacks),  # Tune adds its own to the list that it is given
                stop=_Stopper(conductor, asked),
                verbose=0,
                progress_reporter=_Silent(),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except tune.TuneError:  # it holds the text of the conductor's error alone
            if conductor.error is None:
                raise
        if conductor.error is not None:
            raise conductor.error
    if scheduler.error is not None:
        raise scheduler.error


def _name_of(trial: Trial) -> str:
    """A trial's name in the journal."""
    return str(trial.config["trial"])


@contextlib.contextmanager
def _place(folder: Place | None) -> Iterator[str]:
    """Where Tune keeps its own files: in a run's folder, or for a while where nobody looks.

    To a bucket what callbacks wrote goes at the end, behind what an earlier session had written. Tune's own
    state, pickled, nobody reads again.
    """
    if isinstance(folder, Path):
        yield str(folder / "tune")
        for state in (folder / "tune").glob("*/*"):
            if state.is_file():
                state.unlink()
        return
    with tempfile.TemporaryDirectory(prefix="raysearch-") as here:
        if folder is not None and storage.exists(folder / "tune"):
            with storage.fetched(folder / "tune") as before:
                shutil.copytree(before, here, dirs_exist_ok=True)
        try:
            yield here
        except BaseException:
            with storage.impatiently(), contextlib.suppress(StorageError):
                _put(Path(here), folder)
            raise
        _put(Path(here), folder)


def _put(here: Path, folder: Place | None) -> None:
    """Store what callbacks wrote for trials."""
    for file in here.glob("*/*/**/*"):
        if folder is not None and file.is_file():
            storage.write(folder / "tune" / file.relative_to(here), file.read_bytes())


def _trainable(setup: TrialSetup, demand: Demand) -> Any:
    from raysearch.trainables.trial import CompressionTrial

    trainable = tune.with_parameters(CompressionTrial, setup=Carried(setup))
    return tune.with_resources(trainable, demand.placement())


class _Silent(tune.ProgressReporter):
    """Says nothing, where Tune's own would clear the live table from a notebook's output."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Trial], done: bool, *sys_info: str) -> None:
        """Never called."""


class _Stopper(tune.Stopper):
    """Ends the trials of a conductor that can store nothing or misses a reference, and if it is asked to."""

    def __init__(self, conductor: Conductor, asked: Callable[[], bool]) -> None:
        self._conductor, self._asked = conductor, asked

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Nothing: Tune pickles it, and among what it knows are the signal handlers of a user's program."""
        return object, ()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._conductor.stopped or self._asked()


class _ConductorScheduler(TuneScheduler):
    """Hands a trial's measurements, notes and failure to the conductor beside its values."""

    scheduler: Conductor

    def __init__(self, conductor: Conductor, workers: Workers) -> None:
        super().__init__(conductor, step=f"{RESULT_KEY}/step")
        self._workers = workers

    def decide(self, trial: str, step: int, result: Mapping[str, Any]) -> Decision:
        told = _under(RESULT_KEY, result)
        values = numbers(_under("values", told))
        return self.scheduler.decide(trial, step, values, told["measurements"], told["notes"])

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        told = _under(RESULT_KEY, result)
        if "unsaved" in told:
            self.scheduler.suspend(trial.trial_id, told["unsaved"])
        elif "lost" in told:
            self.scheduler.lose(trial.trial_id, told["lost"])
        elif "failure" in told:
            if told["stuck"]:
                _end_process(tune_controller, trial)
            self.scheduler.fail(trial.trial_id, told["failure"], told["traceback"])
        else:
            super().on_trial_complete(tune_controller, trial, result)
        conductor, node = self.scheduler, told.get("node", "")
        if not conductor.has_more or self._workers.lets_go(node, conductor.in_flight):
            _end_process(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        # One that was preempted with its node Tune itself starts again.
        if not trial.should_recover():  # type: ignore[no-untyped-call]
            text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
            self.scheduler.die(trial.trial_id, _last_words(text), text)


def _under(key: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """What stood under a key before Tune flattened a result: that of "values/accuracy" is "accuracy"."""
    found = ((name.partition("/"), value) for name, value in flat.items())
    return {rest: value for (first, slash, rest), value in found if first == key and slash}


def _end_process(tune_controller: Any, trial: Trial) -> None:
    """Keep Tune from giving a trial's process to the next one; it has no public way to say so."""
    tune_controller._started_actors.discard(tune_controller._trial_to_actor.get(trial))


def _last_words(text: str) -> str:
    """Why a trial's worker died, as far as Ray can tell, from what Tune wrote of it."""
    if "low on memory" in text or "OutOfMemory" in text:
        return "the machine ran low on memory"
    if "ActorDiedError" in text or "worker process has died" in text:
        return "it was killed, as the system does where memory runs out, or crashed in native code"
    return text.strip().splitlines()[-1] if text.strip() else "no reason is known"
