"""The stages of one trial, without Ray: build, measure, train, quantise, export, check.

TrialStages give one report at a time. Step 0 is the hardware report, with the task's metrics before training;
1 to E are epochs, E + 1 is the exported model. A network that others are compared with may be trained for
longer (see ``schedule``): it goes on to its last step when it is done. After each report their whole state,
the reports included, is on disk: what is built again for the same trial repeats the reports that were saved
and goes on from there.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import fx, nn

from raysearch import backends
from raysearch.basics.disk import replacing, storing
from raysearch.networks.running import run_limited
from raysearch.search_spaces.channel_pruning import SEARCHED
from raysearch.trainables.data.batches import Examples
from raysearch.trainables.distillation import BatchLoss, distillation_loss, plain_loss
from raysearch.trainables.evaluation import evaluate, score
from raysearch.trainables.export.agreement import check_agreement
from raysearch.trainables.export.deployment import as_deployed, remarks, static_figures, write_files
from raysearch.trainables.export.feeds import feed_of
from raysearch.trainables.inheritance import inherit
from raysearch.trainables.pruning import prune
from raysearch.trainables.pruning.channel_search import searchable
from raysearch.trainables.pruning.recalibration import recalibrated
from raysearch.trainables.quantization import nonzero_rate
from raysearch.trainables.schedule import Schedule, cycles
from raysearch.trainables.setup import TRACING_LIMIT_S, Config, Kept, Measure, TrialSetup
from raysearch.trainables.training import train_epoch
from raysearch.trainables.variant import save_variant

_TAKEN_OVER = "trained in an earlier run of the same task, and taken over"
_ROUNDING = 0.01
_FROZEN = "all layers are frozen, so that nothing was trained"


@dataclass(frozen=True)
class Report:
    """One report of a trial: the values known at a step, the measurements behind them, and remarks."""

    step: int
    values: dict[str, float]
    measurements: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
        self.config, self.plan = variant.config, variant.plan
        self.seed = (setup.seed * 1_000_003 + int(variant.key[:8], 16)) % 2**31
        self.reports: list[Report] = []
        self._repeat: list[Report] = []
        self._build()
        self._load()

    @property
    def last_step(self) -> int:
        """The step of the exported model: E + 1 for a trial."""
        return self.setup.last_step(self.name)

    def next_report(self) -> Report:
        """Repeat a saved report, or do the next step's work and save it."""
        if self._repeat:
            return self._repeat.pop(0)
        step = self._next_step()
        if step == 0:
            report = self._hardware()
        elif step < self.last_step:
            report = self._epoch(step)
        else:
            report = self._deploy(step)
        self.reports.append(report)
        self._save()
        return report

    def _next_step(self) -> int:
        if not self.reports:
            return 0
        curve = self._curve()
        if self.kept is not None:
            return min(step for step in self.kept.curve if step > max(curve))
        return self.last_step if self.schedule.is_done(curve) else max(curve) + 1

    def _curve(self) -> dict[int, dict[str, float]]:
        return {report.step: report.values for report in self.reports}

    # -- building ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        torch.manual_seed(self.seed)
        model = self.task.build(self.plan.architecture)
        inherited = self._inherit(model)
        self.history: Any = None
        if self.plan.pruning is not None:
            self.history = prune(
                model,
                self.task.example_input(),
                self.plan.pruning,
                exclude=self.task.exclude,
                examples=self._examples_to_search(),
                loss=self.task.loss,
            )
        self.module: nn.Module = model.to(self.device)
        self.quantized = False
        self.float_epochs = self._float_epochs(straight=inherited and not self.history)
        self.schedule = self._schedule()
        self.optimizer = self._new_optimizer()
        self.kept = self._taken_over()

    def _taken_over(self) -> Kept | None:
        """The same network as it was trained before, its weights loaded; None where there is none.

        It is the same if it gives the metrics that it gave there, up to what a runtime rounds differently.
        """
        kept = self.setup.kept.get(self.name)
        if kept is None:
            return None
        fresh = {key: value.clone() for key, value in self.module.state_dict().items()}
        try:
            self.module.load_state_dict(load_file(kept.weights))
            found, known = self._metrics(self.module), kept.curve[self.last_step]
            if all(math.isclose(found[m], known[m], rel_tol=_ROUNDING) for m in found):
                return kept
        except (RuntimeError, OSError, KeyError):  # another network, or a file that is gone
            pass
        self.module.load_state_dict(fresh)
        return None

    def _examples_to_search(self) -> Examples | None:
        """What the pruning criteria that search look at, and only they."""
        if self.plan.pruning is None or self.plan.pruning.criterion not in SEARCHED:
            return None
        return searchable(self.task.train, self.task.collate, self.seed)

    def _inherit(self, model: nn.Module) -> bool:
        """Start from the parent's trained weights; whether they fit whole."""
        if self.task.pretrained:
            return True
        weights = self.setup.reference_weights("parent")
        if self.name in self.setup.from_scratch or not weights.exists():
            return False
        return inherit(model, load_file(weights))

    def _schedule(self) -> Schedule:
        epochs, metric = self.setup.epochs, next(iter(self.task.metrics))
        if self.name not in self.setup.from_scratch:
            return Schedule((self.float_epochs, epochs))
        if self.name == "parent" and self.task.pretrained:
            return Schedule((1,))  # it is evaluated once
        if self.name == "parent" and self.setup.parent_epochs is not None:
            return Schedule((self.setup.parent_epochs,))
        return Schedule(cycles(epochs), metric, self.setup.maximize.get(metric, True))

    def _float_epochs(self, *, straight: bool) -> int:
        """Epochs trained in float; trained and unpruned weights go straight to the quantised part."""
        if not self.plan.bits.quantized:
            return self.setup.epochs
        if straight:
            return 0
        quantized = max(1, round(self.setup.epochs * self.plan.training.quantized_share))
        return max(0, self.setup.epochs - quantized)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """AdamW that decays weights alone: biases, norms and the quantisers' steps are one-dimensional."""
        training = self.plan.training
        parameters = list(self.module.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": training.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=training.lr)

    def _as_deployed(self) -> fx.GraphModule:
        return as_deployed(self.module, self.task, self.plan, self.setup.seed)

    # -- the stages ----------------------------------------------------------------------------------------

    def _hardware(self) -> Report:
        """Step 0: what does not depend on training, and the metrics before it.

        Batch norm's statistics and the steps of the quantisers are taken anew, the weights are as they were
        inherited and pruned.
        """
        with tempfile.TemporaryDirectory() as folder:

            def trace() -> tuple[fx.GraphModule, dict[str, Path]]:
                model = recalibrated(self.module, self.task.train, self.task.collate, self.seed)
                module = as_deployed(model, self.task, self.plan, self.setup.seed)
                return module, write_files(module, Path(folder), self.setup.forms)

            module, files = run_limited(trace, TRACING_LIMIT_S, "tracing and exporting the network")
            values = static_figures(module, files, self.setup.targets)
            values |= evaluate(
                module.to(self.device), self.task.validation, self.task.metrics, self.task.collate
            )
            measurements = []
            for target in self.setup.targets:
                measured = self.measure(
                    target,
                    files[backends.get(target).form],
                    feed_of(self.task.example_input()),
                    reference=self.name == "parent",
                )
                values[f"latency_ms/{target}"] = measured["latency_ms"]
                measurements.append(measured)
        if self.kept is not None:  # its weights are trained already
            values |= {metric: self.kept.curve[0][metric] for metric in self.task.metrics}
        return Report(0, values, measurements, remarks(module, self.plan))

    def _metrics(self, module: nn.Module) -> dict[str, float]:
        return evaluate(module, self.task.validation, self.task.metrics, self.task.collate)

    def _epoch(self, epoch: int) -> Report:
        if self.kept is not None:
            return Report(epoch, dict(self.kept.curve[epoch]), notes=[_TAKEN_OVER])
        if epoch > self.float_epochs and self.plan.bits.quantized and not self.quantized:
            self._start_quantized()
        if not (self.task.pretrained and self.name == "parent"):
            self._train(epoch)
        values = self._metrics(self.module)
        if self.schedule.is_best({**self._curve(), epoch: values}):
            with replacing(self._best, self._part("best")):
                torch.save(self.module.state_dict(), self._part("best"))
        trained = any(p.requires_grad for p in self.module.parameters())
        return Report(epoch, values, notes=[] if trained else [_FROZEN])

    def _start_quantized(self) -> None:
        self.module = self._as_deployed().to(self.device)
        self.quantized = True
        self.optimizer = self._new_optimizer()

    def _train(self, epoch: int) -> None:
        torch.manual_seed(self.seed + epoch)
        training = self.plan.training
        peak = training.lr * (training.quantized_lr if self.quantized else 1.0)
        train_epoch(
            self.module,
            self.task.train,
            self._loss(),
            self.optimizer,
            batch_size=training.batch_size,
            lr=lambda share: peak * self.schedule.rate(epoch, share),
            generator=torch.Generator().manual_seed(self.seed + epoch),
            augment=self.task.augment,
            collate=self.task.collate,
            device=self.device,
        )

    def _loss(self) -> BatchLoss:
        teacher = self.plan.teacher
        loss = self.task.smoothed_loss(self.plan.training.label_smoothing)
        if not teacher.active:
            return plain_loss(loss)
        if not hasattr(self, "_teacher"):
            plan = self.setup.space.variant(self.setup.references[teacher.name]).plan
            self._teacher = self.task.build(plan.architecture).to(self.device)
            self._teacher.load_state_dict(load_file(self.setup.reference_weights(teacher.name)))
        return distillation_loss(
            loss,
            self._teacher,
            temperature=teacher.temperature,
            weight=teacher.weight,
            term=self.task.distillation,
        )

    def _deploy(self, step: int) -> Report:
        """Step E + 1: export, check, and take the metrics where the model will run."""
        if self._best.exists():
            self.module.load_state_dict(torch.load(self._best, weights_only=True, map_location=self.device))
        deployed = self.module if self.quantized else self._as_deployed()
        module = cast(fx.GraphModule, deployed.cpu().eval())
        if self.name in self.setup.references:
            self._save_reference()
        final, folder = self.setup.variant_folder(self.name), self._part("variant")
        shutil.rmtree(folder, ignore_errors=True)
        with storing(folder.parent):
            folder.mkdir(parents=True)
        files = write_files(module, folder, self.setup.forms)
        values = {"file_mb": files[backends.get(self.setup.targets[0]).form].stat().st_size / 1e6}
        by_target, notes = {}, []
        for target in self.setup.targets:
            agreement = check_agreement(
                module,
                files[backends.get(target).form],
                backends.get(target),
                self.task.validation,
                self.task.collate,
            )
            by_target[target] = score(agreement.predicted, self.task.metrics)
            notes += [remark] if (remark := agreement.remark(target)) else []
        values |= self.setup.over_targets(by_target)
        values["nonzero_rate"] = nonzero_rate(module)
        with storing(final.parent):
            save_variant(folder, module, self.plan, task=self.task, history=self.history)
            shutil.rmtree(final, ignore_errors=True)
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, final)
        return Report(step, values, notes=notes)

    # -- the state on disk ---------------------------------------------------------------------------------

    @property
    def _best(self) -> Path:
        """The state at the end of the best cycle of a network that is trained until it is done."""
        return self.setup.trial_folder(self.name) / "best.pt"

    def _part(self, what: str) -> Path:
        """Where a file or folder is written before it is moved to its place.

        The name is this process's own: after an interruption an old actor may still be saving the same trial
        while the resumed one does. It lies in the trial's folder, which goes when the run is complete.
        """
        return self.setup.trial_folder(self.name) / f"{what}.{os.getpid()}.part"

    def _save_reference(self) -> None:
        """Leave the trained float weights for the trials that start from them or are taught by them."""
        path, part = self.setup.reference_weights(self.name), self._part("weights")
        # Each tensor a copy of its own: of those that share memory, safetensors saves none.
        state = {k: v.detach().cpu().clone().contiguous() for k, v in self.module.state_dict().items()}
        with replacing(path, part):
            save_file(state, part)

    def _save(self) -> None:
        state = {
            "reports": json.dumps([asdict(r) for r in self.reports]),
            "quantized": self.quantized,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = self._part("checkpoint")
        with replacing(self.setup.trial_folder(self.name) / "checkpoint.pt", part):
            torch.save(state, part)

    def _load(self) -> None:
        path = self.setup.trial_folder(self.name) / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.reports = [Report(**r) for r in json.loads(state["reports"])]
        self._repeat = list(self.reports)
        if state["quantized"]:
            self._start_quantized()
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
