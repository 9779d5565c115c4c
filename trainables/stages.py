"""The stages of one trial, without Ray: build, measure, train, quantise, export, check.

TrialStages give one report at a time. Step 0 is the hardware report, with the task's metrics before training;
1 to E are epochs, E + 1 is the exported model. A network that others are compared with may be trained for
longer (see ``training.schedule``): it goes on to its last step when it is done. After each report their
whole state, the reports included, is in the run's folder: what is built again for the same trial repeats the
reports that were saved and goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from raysearch import storage
from raysearch.backends.base import values_of
from raysearch.basics.disk import is_full, storing
from raysearch.basics.failures import first_line
from raysearch.metrics import ERROR
from raysearch.search_spaces.pruning.channel_pruning import FROM_EXAMPLES, NNI_TRAINED
from raysearch.storage import Place
from raysearch.trainables.evaluation import score
from raysearch.trainables.exits.agreement import check_exits
from raysearch.trainables.exits.evaluation import may_leave
from raysearch.trainables.exits.rule import NEVER
from raysearch.trainables.export.agreement import check_agreement
from raysearch.trainables.export.deployment import write_files
from raysearch.trainables.hardware import (
    estimates,
    exit_figures,
    hardware_report,
    measured_at_last,
    metrics_of,
)
from raysearch.trainables.keeping.checkpoints import read_state, write_state
from raysearch.trainables.keeping.references import (
    LostReference,
    reference_parts,
    reference_weights,
    write_weights,
)
from raysearch.trainables.parts import Parts, standard_error
from raysearch.trainables.pruning import History
from raysearch.trainables.quantization import nonzero_rate
from raysearch.trainables.setup import LONGER, Config, Kept, Measure, Report, TrialSetup
from raysearch.trainables.start import schedule_of, taken_over
from raysearch.trainables.training.course import Course
from raysearch.trainables.training.distillation import BatchLoss
from raysearch.trainables.variant import SPEC, save_variant

_TAKEN_OVER = "trained in an earlier run of the same task, and taken over"
_ONE_WAY = {
    0.0: "no input leaves early: the exit costs time and saves none",
    1.0: "every input leaves early: what stands behind the exit is never run",
}
_FROZEN = "all layers are frozen, so that nothing was trained"


class TrialStages:
    """One trial in progress.

    Args:
        setup: what all trials share.
        name: the trial's name; "parent" and the other references save their float weights for the rest.
        config: of the space's five keys.
        measure: has a model file measured.
        device: where to train.
    """

    def __init__(
        self, setup: TrialSetup, name: str, config: Config, measure: Measure, device: str = "cpu"
    ) -> None:
        self.setup, self.name, self.measure = setup, name, measure
        self.task, self.device = setup.task, torch.device(device)
        variant = setup.space.variant(config)
        self.config, self.plan, self.key = variant.config, variant.plan, variant.key
        self.seed = seed_of(setup, variant.key)
        self.reports: list[Report] = []
        self._repeat: list[Report] = []
        self._teacher: nn.Module | None = None
        self._lost = ""
        self._begin()

    @property
    def last_step(self) -> int:
        """The step of the exported model: E + 1 for a trial."""
        return self.setup.last_step(self.name)

    def next_report(self) -> Report:
        """Repeat a saved report, or do the next step's work and save it."""
        if self._repeat:
            return self._repeat.pop(0)
        step = self._next_step()
        if step == self.last_step and not self._take_best():
            return self.next_report()
        if step == 0:
            report = self._hardware()
        elif step < self.last_step:
            report = self._epoch(step)
        else:
            report = self._deploy(step)
        if self._lost:
            report.notes.append(self._lost)
        self.reports.append(report)
        self._save()
        return report

    def _next_step(self) -> int:
        if not self.reports:
            return 0
        curve = self._curve()
        if self.kept is not None:
            return min(step for step in self.kept.curve if step > max(curve))
        done = self.schedule.is_done(curve)
        cycle_ends = max(curve) in self.schedule.ends and self.name in self.setup.from_scratch
        late = cycle_ends and time.time() > self.setup.patience
        return self.last_step if done or late else max(curve) + 1

    def _curve(self) -> dict[int, dict[str, float]]:
        return {report.step: report.values for report in self.reports}

    # -- building ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.course = Course(self.setup, self.name, self.plan, self.seed, self.device)
        self.schedule = schedule_of(self.setup, self.name, self.plan.training, self.float_epochs)
        self.kept = taken_over(self.setup, self.name, self.module)

    @property
    def module(self) -> nn.Module:
        """The network as it stands: what is evaluated and deployed."""
        return self.course.module

    @property
    def quantized(self) -> bool:
        """Whether it is in its quantised part."""
        return self.course.quantized

    @property
    def float_epochs(self) -> int:
        """The epochs that it is trained in float."""
        return self.course.float_epochs

    @property
    def history(self) -> History | None:
        """The channels that are gone."""
        return self.course.history

    @property
    def _from_examples(self) -> bool:
        """Whether examples decided what was pruned: it is slow, and another machine may decide otherwise."""
        plans = (self.plan.pruning, self.plan.sparsity)
        return any(plan is not None and plan.criterion in (*FROM_EXAMPLES, *NNI_TRAINED) for plan in plans)

    # -- the stages ----------------------------------------------------------------------------------------

    def _hardware(self) -> Report:
        report = hardware_report(
            self.setup,
            self.plan,
            self.module,
            self.seed,
            self.measure,
            reference=self.name == "parent",
            in_integers=self.name in self.setup.references,
        )
        report.notes[:0] = self.course.notes
        if self.kept is not None:  # its weights are trained already
            report.values.update(self._kept_metrics(0))
        return report

    def _kept_metrics(self, step: int) -> dict[str, float]:
        """The task's metrics as the earlier run had them; its targets and exits may have been others."""
        known = self.kept.curve[step] if self.kept is not None else {}
        return {metric: known[metric] for metric in self.task.metrics if metric in known}

    @property
    def _measurements(self) -> list[dict[str, Any]]:
        return [each for report in self.reports for each in report.measurements]

    def _epoch(self, epoch: int) -> Report:
        if self.kept is not None:
            known = self._kept_metrics(epoch) | exit_figures(self.setup, self._measurements, None)
            return Report(epoch, known, notes=[_TAKEN_OVER])
        measured = self._measured_at_last() if epoch == 1 else []
        self.course.begin(epoch)
        if not (self.task.pretrained and self.name == "parent"):
            self._train(epoch)
        values, _ = metrics_of(self.setup, self.plan, self.module, [*self._measurements, *measured])
        if self.schedule.is_best({**self._curve(), epoch: values}):
            write_state(self._best, self.module.state_dict())
        for each in measured:
            values |= values_of(each)
        trained = any(p.requires_grad for p in self.module.parameters())
        return Report(epoch, values, measured, [] if trained else [_FROZEN])

    def _measured_at_last(self) -> list[dict[str, Any]]:
        """What step 0 only predicted of this trial, which goes on: what may end on the front is measured."""
        reported = self.reports[0].measurements
        return measured_at_last(self.setup, self.plan, self.module, self.seed, self.measure, reported)

    def _train(self, epoch: int) -> None:
        torch.manual_seed(self.seed + epoch)
        loss = self._loss()
        trained_by_others = self.task.pretrained and self.name == LONGER
        training = self.plan.training
        peak = training.lr * (training.quantized_lr if self.quantized or trained_by_others else 1.0)
        self.course.train(epoch, loss, lambda share: peak * self.schedule.rate(epoch, share))

    def _loss(self) -> BatchLoss:
        if self._teacher is None:
            self._teacher = self._trained_teacher()
        return self.course.trainer.loss(self.task, self._teacher, self.plan.teacher)

    def _trained_teacher(self) -> nn.Module | None:
        teacher = self.plan.teacher
        if not teacher.active:
            return None
        plan = self.setup.space.variant(self.setup.references[teacher.name]).plan
        network = self.task.build(plan.architecture).to(self.device)
        network.load_state_dict(reference_weights(self.setup, teacher.name))
        return network

    def _deploy(self, step: int) -> Report:
        """Step E + 1: export, check, and take the metrics where the model will run."""
        module = self.course.deployed().cpu().eval()
        if self.name in self.setup.references:
            self._save_reference()
        final, aside = self.setup.variant_folder(self.name), self.setup.trial_folder(self.name)
        with storage.staged(final, aside=aside, last=SPEC) as folder:
            return self._deploy_in(folder, module, step)

    def _deploy_in(self, folder: Path, module: fx.GraphModule, step: int) -> Report:
        """Write the variant into an empty folder, check it, and take its metrics."""
        rule = None
        if may_leave(module):
            _, rule = metrics_of(self.setup, self.plan, module, self._measurements)
        files = write_files(module, folder, self.setup.forms, rule or NEVER)
        values = {"file_mb": files[self.setup.targets[0].form].stat().st_size / 1e6}
        in_integers = self.name in self.setup.references
        said = estimates(self.setup, self.plan, self.module, files, self.measure, in_integers=in_integers)
        values |= {name: value for each in said for name, value in values_of(each).items()}
        values |= exit_figures(self.setup, self._measurements, rule)
        by_target, parts, notes = {}, {}, [_ONE_WAY[rule.share]] if rule and rule.share in _ONE_WAY else []
        for target in self.setup.targets:
            given = (target, self.task.validation, self.task.collate)
            if rule is None:
                agreement = check_agreement(module, files[target.form], *given)
            else:
                agreement = check_exits(module, rule, folder, *given)
            watched = Parts(self.task.metrics)
            by_target[target.name] = score(watched.watch(agreement.predicted), self.task.metrics)
            parts[target.name] = watched.values()
            notes += [remark] if (remark := agreement.remark(target.name)) else []
        values |= self.setup.over_targets(by_target)
        values |= self._errors(self.setup.worst_parts(by_target, parts))
        values["nonzero_rate"] = nonzero_rate(module)
        with storing(folder):
            save_variant(
                folder,
                module,
                self.plan,
                task=self.task,
                history=self.history,
                weight_bits=self.setup.weight_bits,
                unsigned_bits=self.setup.unsigned_bits,
                throughout=self.setup.throughout,
                rule=rule,
            )
        return Report(step, values, said, notes)

    def _errors(self, parts: Mapping[str, list[float]]) -> dict[str, float]:
        """The standard error of each metric's difference from the parent's, whose parts are left for that."""
        if self.name == "parent":
            aside = self.setup.trial_folder(self.name)
            storage.write(self.setup.parts_file, json.dumps(parts), aside=aside)
            return {}
        others = reference_parts(self.setup)
        known = parts.keys() & others.keys()
        return {f"{ERROR}{metric}": standard_error(parts[metric], others[metric]) for metric in known}

    # -- the state on disk ---------------------------------------------------------------------------------

    @property
    def _best(self) -> Place:
        """The state at the end of the best cycle of a network that is trained until it is done."""
        return self.setup.trial_folder(self.name) / "best.pt"

    @property
    def _checkpoint(self) -> Place:
        return self.setup.trial_folder(self.name) / "checkpoint.pt"

    def _save_reference(self) -> None:
        """Leave the trained float weights for the trials that start from them or are taught by them."""
        aside = self.setup.trial_folder(self.name)  # which goes when the run is complete
        write_weights(self.setup.reference_weights(self.name), self.module.state_dict(), aside)

    def _save(self) -> None:
        state: dict[str, Any] = {"key": self.key, "reports": json.dumps([asdict(r) for r in self.reports])}
        if len(self.reports) > 1 or self._from_examples:
            state |= {
                **self.course.state(),
                "kept": self.kept and json.dumps(list(self.kept.curve.items())),
            }
        write_state(self._checkpoint, state)

    def _begin(self) -> None:
        """Build the network, and go on from the checkpoint where there is one that is whole."""
        self._build()
        try:
            self._load()
        except LostReference:
            raise
        except Exception as error:  # of damage, whatever reads it may raise anything
            if is_full(error):
                raise
            self._begin_again(f"its checkpoint was damaged ({first_line(error)})")

    def _begin_again(self, why: str) -> None:
        """Forget all that was done: what it repeats is the same, and known."""
        self._lost = f"{why}: it began again"
        storage.remove(self.setup.trial_folder(self.name))
        self.reports, self._repeat, self._teacher = [], [], None
        self._build()

    def _take_best(self) -> bool:
        """Return to the end of the best cycle; where that is lost begin again, and say so."""
        curve = self._curve()
        kept = any(self.schedule.is_best({s: curve[s] for s in curve if s <= end}) for end in curve)
        if self.kept is not None or not kept:
            return True
        try:
            self.module.load_state_dict(read_state(self._best, self.device))
        except Exception as error:  # as above
            if is_full(error):
                raise
            self._begin_again(f"the best state of its training was lost ({first_line(error)})")
            return False
        return True

    def _load(self) -> None:
        try:
            state = read_state(self._checkpoint, self.device)
        except FileNotFoundError:
            return
        if state.get("key", self.key) != self.key:  # an older journal, put back, gave the name anew
            self._begin_again("its checkpoint was of another config")
            return
        reports = [Report(**r) for r in json.loads(state["reports"])]
        if "module" in state:  # else it was only measured: what was built is what it was
            # A reference goes on as it began, whatever other runs have left or taken away since.
            self.kept = Kept("", dict(json.loads(state["kept"]))) if state.get("kept") else None
            self.course.load(state, reports[-1].step)
        self.reports, self._repeat = reports, list(reports)
        if "module" in state and 0 < reports[-1].step < self.last_step:
            # To make it draws random numbers: those of an epoch that follows are not to depend on it.
            self._teacher = self._trained_teacher()


def seed_of(setup: TrialSetup, key: str) -> int:
    """The seed of all that a trial draws, by the key of its variant."""
    return (setup.seed * 1_000_003 + int(key[:8], 16)) % 2**31
