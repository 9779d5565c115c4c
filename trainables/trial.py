"""CompressionTrial: the stages of a trial as a trainable of Ray Tune.

In a Study the driver gives each trial its name and a canonical config. In a plain Tuner it works alone::

    service = start_service("raysearch")
    folder = Path("run").resolve()
    setup = TrialSetup(task, bind(space), targets=(backends.get("onnxruntime-cpu"),), epochs=9, folder=folder)
    tune.Tuner(tune.with_parameters(CompressionTrial, setup=setup), param_space=setup.space.domains).fit()
    service.stop()

There each latency is measured against the first model that comes, not against a parent, and the space cannot
have a teacher: only a Study trains the networks that teach.
"""

from __future__ import annotations

from typing import Any

import ray
import torch
from ray import tune

from raysearch.basics.disk import StorageError, is_full
from raysearch.basics.failures import failure, first_line, traceback_of
from raysearch.basics.garbage import hold_what_is_there
from raysearch.metrics import RESULT_KEY
from raysearch.networks.running import TimeLimitExceeded
from raysearch.storage.logs import logged
from raysearch.trainables.keeping.references import LostReference
from raysearch.trainables.measuring import measure_through
from raysearch.trainables.setup import TrialSetup
from raysearch.trainables.stages import TrialStages


class CompressionTrial(tune.Trainable):
    """Reports one step of its TrialStages at a time; a stage that fails ends the trial with its reason.

    Its results hold every metric under its own name, and ``step``. What a study reads stands under
    "raysearch" alone, where no metric's name can be taken for it: ``step``, ``values`` (the metrics again),
    ``measurements`` and ``notes``. Where a stage failed that is ``failure``, ``traceback`` and ``stuck``:
    whether its work may go on in this process. Where its state could not be saved it is ``unsaved``, where a
    reference's weights are lost that one's name, ``lost``: the trial is not at its end. ``node``, the one
    that it runs on, always stands there. The trial's state is in the run's folder, not in Tune's checkpoints.
    """

    def setup(self, config: dict[str, Any], setup: TrialSetup) -> None:  # type: ignore[override]
        """Prepare the trial; nothing is built before its first step, where a failure can be reported."""
        self._setup, self._config = setup, config
        self._stages: TrialStages | None = None
        torch.set_num_threads(max(1, int(self._granted("CPU"))))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Make this actor the next trial's."""
        self._config, self._stages = new_config, None
        hold_what_is_there()  # imports and caches, which no later trial need go through
        return True

    def step(self) -> dict[str, Any]:
        """The next report."""
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        try:
            with logged(self._setup.log_file(self._called)):
                stages = self._stages = self._stages or self._start()
                report = stages.next_report()
        except Exception as error:
            return {RESULT_KEY: {**_failed(error), "node": node}, "done": True}
        told = {
            "step": report.step,
            "values": report.values,
            "measurements": report.measurements,
            "notes": report.notes,
            "node": node,
        }
        done = report.step == stages.last_step
        return {**report.values, "step": report.step, RESULT_KEY: told, "done": done}

    def _start(self) -> TrialStages:
        config = {key: value for key, value in self._config.items() if key != "trial"}
        device = "cuda" if torch.cuda.is_available() and self._granted("GPU") else "cpu"
        return TrialStages(self._setup, self._called, config, measure_through(self._setup.service), device)

    @property
    def _called(self) -> str:
        return str(self._config.get("trial", self.trial_id))

    def _granted(self, resource: str) -> float:
        resources = self.trial_resources
        return float(resources.required_resources.get(resource, 0)) if resources else 0.0

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing for Tune: each step has saved itself."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: the trial finds its own state when it starts."""


def _failed(error: Exception) -> dict[str, Any]:
    """What is reported of a stage that raised."""
    if isinstance(error, LostReference):
        return {"lost": error.name}
    if isinstance(error, StorageError):
        return {"unsaved": str(error)}
    if is_full(error):
        return {"unsaved": f"a disk is full: {first_line(error)}"}
    stuck = isinstance(error, TimeLimitExceeded)
    return {"failure": failure(error), "traceback": traceback_of(error), "stuck": stuck}
