"""A variant's files: known to be whole by their digests, exported again, or their trial run again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import fx

from raysearch import storage
from raysearch.basics.disk import is_full
from raysearch.trainables.exits.evaluation import Leaving
from raysearch.trainables.exits.files import EARLY, LATE, ONE
from raysearch.trainables.export.deployment import write_files
from raysearch.trainables.keeping.references import LostReference, reference_parts, reference_weights
from raysearch.trainables.measuring import measure_through
from raysearch.trainables.setup import FILES, Config, Kept, TrialSetup
from raysearch.trainables.stages import TrialStages
from raysearch.trainables.variant import DIGESTS, SPEC, WEIGHTS, digests_of, load_variant

EXPORTED = "its files were damaged: they were exported again from its weights"
RUN_AGAIN = "its files were damaged: its trial was run again"

Curve = Mapping[int, Mapping[str, float]]


def restore(setup: TrialSetup, name: str, config: Config) -> str:
    """Make a finished trial's variant again where it is not whole: export it, or run the trial.

    Args:
        setup: what all trials share.
        name: the trial's.
        config: the trial's.

    Returns:
        A remark on what was done; empty where the variant is whole.

    Raises:
        StorageError: storage does not answer, or has no room; nothing is done then.
    """
    if variant_is_whole(setup, name):
        return ""
    try:
        export_again(setup, name, config, setup.forms)
    except Exception as error:  # whatever is wrong with what is left
        if is_full(error):  # nothing is
            raise
        _run_through(setup, name, config)
        return RUN_AGAIN
    return EXPORTED


def variant_is_whole(setup: TrialSetup, name: str) -> bool:
    """Whether a variant has all its files, and they are what was written."""
    try:
        with storage.fetched(setup.variant_folder(name)) as folder:
            noted = json.loads((folder / SPEC).read_text(encoding="utf-8")).get(DIGESTS)
            if noted is None:  # of an earlier version
                return all((folder / FILES[form]).stat().st_size for form in setup.forms)
            return bool(noted == digests_of(folder, noted))
    except (OSError, ValueError, AttributeError):
        return False


def reference_is_whole(setup: TrialSetup, name: str) -> bool:
    """Whether a trained reference has its weights, its variant and what others are compared with.

    Raises:
        StorageError: storage does not answer, so that nobody knows.
    """
    try:
        reference_weights(setup, name)
        if name == "parent":
            reference_parts(replace(setup, made=frozenset({name})))  # as the trials are told
    except LostReference:
        return False
    return variant_is_whole(setup, name)


def make_again(setup: TrialSetup, name: str, curve: Curve) -> None:
    """Make a reference's weights and variant again: from its weights, or by training it again as it was.

    Args:
        setup: what all trials share.
        name: the reference's.
        curve: what it reported at each step.
    """
    own = Kept(str(setup.reference_weights(name)), curve)
    kept = {**setup.kept, name: own} if _readable(setup, name) else setup.kept
    _run_through(replace(setup, kept=kept), name, setup.references[name], curve)


def _readable(setup: TrialSetup, name: str) -> bool:
    try:
        reference_weights(setup, name)
    except LostReference:
        return False
    return True


def add_forms(setup: TrialSetup, name: str, config: Config) -> None:
    """Write the files of a variant that targets want which came later; what is damaged is made again.

    Raises:
        Exception: of whatever kind, where what is left does not do.
    """
    if not variant_is_whole(setup, name):
        export_again(setup, name, config, setup.forms)
        return
    there = storage.names(setup.variant_folder(name))
    missing = [form for form in setup.forms if FILES[form] not in there]
    if missing:
        export_again(setup, name, config, missing)


def export_again(setup: TrialSetup, name: str, config: Config, forms: Iterable[str]) -> None:
    """Write files of a variant from its weights, beside what else it has.

    Args:
        setup: what all trials share.
        name: the trial's.
        config: the trial's.
        forms: of the files.

    Raises:
        Exception: of whatever kind, where its weights or its spec are missing or damaged.
    """
    place, task = setup.variant_folder(name), setup.task
    model = None if task.is_ready else task.build(setup.space.variant(config).plan.architecture)
    with (
        storage.staged(place, aside=setup.trial_folder(name), last=SPEC) as made,
        storage.fetched(place) as folder,
    ):
        spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        module = load_variant(folder, model)
        shutil.copytree(folder, made, dirs_exist_ok=True)
        if isinstance(module, Leaving):
            write_files(module.network, made, forms, module.rule)
            names = [WEIGHTS, ONE, EARLY, LATE]
        else:
            write_files(cast(fx.GraphModule, module), made, forms)
            names = [WEIGHTS, *(FILES[form] for form in setup.forms)]
        spec[DIGESTS] = digests_of(made, names)
        (made / SPEC).write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")


def _run_through(setup: TrialSetup, name: str, config: Config, curve: Curve | None = None) -> None:
    """Take a trial through all its stages, which leave its files where they belong."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stages = TrialStages(setup, name, config, measure_through(setup.service), device)
    trained = max((step for step in curve or () if step < stages.last_step), default=math.inf)
    step = -1
    while step < stages.last_step:
        # A reference that ran out of time then is to be no better now.
        stages.setup = replace(setup, patience=0.0 if step >= trained else math.inf)
        step = stages.next_report().step
    storage.remove(setup.trial_folder(name))
