"""Under what networks are trained and measured, checked: what a study and a sweep have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysearch import backends
from raysearch.backends.base import Backend, in_integers_alone, trial_figures
from raysearch.backends.profiles import channel_multiple
from raysearch.basics.failures import UserError
from raysearch.metrics import SHARE, reported
from raysearch.runs.cluster.demand import Demand
from raysearch.search_spaces import domains
from raysearch.search_spaces.binding import bind
from raysearch.search_spaces.keys import as_mapping, check_keys
from raysearch.search_spaces.space import Space
from raysearch.search_spaces.training import decode_training
from raysearch.searchers.base import Config
from raysearch.trainables.exits.checks import check_exits, check_parent
from raysearch.trainables.pruning.evidence import check_criterion
from raysearch.trainables.task import Task, accuracy
from raysearch.trainables.training.checks import check_schedules, check_settings, check_sizes

_KINDS = ("weights", "activations")
_INTEGER, _FLOAT = 8, 32  # bits


@dataclass(frozen=True)
class Conditions:
    """What holds for every trial of a run; make one with ``check_conditions``.

    Attributes:
        task: the model, its data and its metric.
        parent: the unchanged network's config, "architecture" and "training".
        parent_epochs: how long it is trained, >= 1; None: until it is done.
        targets: where the models will run, at least one.
        epochs: each trial's, >= 1.
        seed: of every random choice.
        resources: of a trial, as ``search.resources`` of a study file.
        workers: trials at a time; None: as many as the resources allow.
        channel_multiple: of kept channels, where a space does not say; None: what the targets like now.
    """

    task: Task
    parent: Config
    targets: tuple[Backend, ...]
    epochs: int
    seed: int
    resources: dict[str, Any]
    workers: int | None
    parent_epochs: int | None = None
    channel_multiple: int | None = None

    @property
    def last_step(self) -> int:
        """The step that completes a trial."""
        return self.epochs + 1

    @property
    def demand(self) -> Demand:
        """What a trial takes of a node."""
        return Demand.of(self.resources)

    @property
    def integers(self) -> frozenset[int]:
        """The bits in which a target computes with integers."""
        return frozenset[int]().union(*(target.integers for target in self.targets))

    @property
    def metrics(self) -> dict[str, str]:
        """The task's metrics, the first one first, with their units; only accuracy's is known."""
        return {name: SHARE if m is accuracy else "" for name, m in self.task.metrics.items()}

    def reported(self, *, exits: bool = False) -> tuple[list[str], list[str]]:
        """The keys of what trials report, and of what only finalists are measured for besides.

        Args:
            exits: whether some networks may be left early.
        """
        known = reported({t.name: trial_figures(t) for t in self.targets}, self.metrics, exits=exits)
        whole = reported({t.name: t.figures for t in self.targets}, self.metrics, exits=exits)
        return known, [key for key in whole if key not in known]

    def bind(self, space: Mapping[str, Any]) -> Space:
        """Bind a space to its architecture where that is searched, else to the layers of the one model.

        Raises:
            ValueError: the space does not fit the model or the inputs, or has settings of training that the
                task, the device or the epochs of the trials cannot have.
        """
        bound = self._bind(space)
        self._check_bits(bound)
        if bound.exits:
            check_exits(self.task, self.targets)
        if self.task.is_ready:
            self._check_inputs(bound)
        settings = [bound.domains.get("training", {}), self.parent.get("training", {})]
        parent = bound.settled(self.parent)
        plan = bound.variant(parent).plan.architecture
        if plan is not None and bound.exits:
            check_parent(self.task, plan)
        check_schedules(bound.domains, self.epochs)
        check_sizes(self.task, bound, parent, self.epochs)
        for criterion in bound.criteria:
            check_criterion(self.task, self.task.build(plan), criterion)
        check_settings(self.task, plan, settings, gpu=self.resources.get("gpu", 0) > 0)
        return bound

    def _check_bits(self, space: Space) -> None:
        """Refuse bits of which a target that computes in integers alone says nothing: trials would fail."""
        strict = [target.name for target in self.targets if in_integers_alone(target)]
        bits = space.domains.get("bits", {})
        drawn = [v for path, v in domains.read(bits).items() if path[-1] in _KINDS]
        most = [max(v.values) if isinstance(v, domains.Choices) else int(v.high) for v in drawn]
        highest = max([*most, *_fixed_bits(domains.constants(bits))], default=_FLOAT)
        if strict and highest > _INTEGER:
            raise UserError(
                f"target {strict[0]} computes layers of at most {_INTEGER} bits alone, and space.bits has "
                f"{highest}: give weights and activations of at most {_INTEGER}, bit_widths(weights=(4, 8), "
                "activations=(8,)) for one"
            )

    def _check_inputs(self, space: Space) -> None:
        """Refuse a ready family that does not take the task's inputs, before a worker is started."""
        architecture = space.settled(self.parent).get("architecture")
        if architecture:
            self.task.build(space.variant({"architecture": architecture}).plan.architecture)

    def _bind(self, space: Mapping[str, Any]) -> Space:
        if "architecture" in space and not self.task.searches_architecture:
            raise UserError("space.architecture is given, but the task's model is fixed: leave it out")
        architecture = as_mapping(
            space.get("architecture") or self.parent.get("architecture", {}), "architecture"
        )
        model = {}
        if not domains.varies(architecture):  # also where a described study names the parent's own
            plan = self.task.decoded(architecture) if architecture else None
            model = {"model": self.task.build(plan)}
        return bind(
            space,
            parent=self.parent,
            channel_multiple=self.channel_multiple or max(map(channel_multiple, self.targets)),
            exclude=self.task.exclude,
            example_input=self.task.example_input(2),
            build=self.task.function,
            parts=self.task.parts,
            **model,
        )


def _fixed_bits(bits: Mapping[str, Any]) -> Iterator[int]:
    for key, value in bits.items():
        if isinstance(value, Mapping):
            yield from _fixed_bits(value)
        elif key in _KINDS:
            yield value


def check_conditions(
    task: Task,
    parent: Config | None,
    targets: Sequence[backends.Spec],
    *,
    epochs: int,
    seed: int,
    resources: Mapping[str, Any],
    workers: int | None,
) -> Conditions:
    """The conditions, of numbers that the study file's schema has checked.

    Args:
        task: what was given as one.
        parent: what differs from the task's own parent.
        targets: where the models will run.
        epochs: see ``Conditions``, as for all that follow.
        seed: of every random choice.
        resources: of a trial.
        workers: trials at a time.

    Raises:
        ValueError: the task is none, a target is unknown or missing, or the parent has other keys or values
            that nothing can be built of.
    """
    if not isinstance(task, Task):
        raise UserError(f"task is {task!r}: give a raysearch.Task, such as raysearch.tasks.digits()")
    known = _known(targets)
    own = as_mapping(parent or {}, "parent")
    check_keys(own, ("architecture", "training", "epochs"), "parent")
    whole = {**task.parent, **own}
    parent_epochs = whole.pop("epochs", None)
    _check_parent(task, whole, parent_epochs)
    return Conditions(task, whole, known, epochs, seed, dict(resources), workers, parent_epochs)


def _check_parent(task: Task, parent: Config, epochs: Any) -> None:
    """Refuse what no network is built of, and what nothing is trained with."""
    if epochs is not None and (type(epochs) is not int or epochs < 1):
        raise UserError(f"parent.epochs is {epochs!r}: give a whole number from 1 on, or leave it out")
    try:
        if parent.get("architecture"):
            task.decoded(as_mapping(parent["architecture"], "architecture"))
        decode_training(as_mapping(parent.get("training", {}), "training"), quantized=False)
    except UserError as error:
        raise UserError(f"parent: {error}") from None


def check_available(targets: Sequence[Backend]) -> None:
    """Refuse a target whose runtime or device is not there."""
    for target in targets:
        reason = target.unavailable()
        if reason:
            raise UserError(f"target {target.name} is not available: {reason}")


def _known(targets: Sequence[backends.Spec]) -> tuple[Backend, ...]:
    """The targets, of which none is unknown, lacks its runtime or shares its name with another.

    Raises:
        UserError: one does, or there is none.
    """
    if isinstance(targets, (str, Mapping)):
        raise UserError(f"targets is {targets!r}: give a list")
    if not targets:
        raise UserError("targets is empty: name at least one, such as onnxruntime-cpu")
    known = tuple(backends.get(target) for target in targets)
    check_available(known)
    check_named_once(known)
    return known


def check_named_once(targets: Sequence[Backend]) -> None:
    """Refuse two targets of one name.

    Raises:
        UserError: there are such.
    """
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"targets name {name} twice: name each once, or give one a name of its own")
