"""References that an earlier run of the same task has trained, taken over: the same numbers without the work.

A run's first line names what its references are made of: the task, the parent, the epochs, the seed, the
code of the task's module and the versions of what trains. Runs beside it in the same folder that name the
same have trained the same networks, as far as they had the time. A trial that takes one over makes sure that
it gives the metrics that it gave there.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysearch import storage
from raysearch.basics.disk import StorageError
from raysearch.basics.failures import UserError
from raysearch.record import journal
from raysearch.record.run_record import RunRecord, TrialRecord
from raysearch.runs.conditions import Conditions
from raysearch.runs.provenance import provenance
from raysearch.storage import Place, Remote
from raysearch.trainables.setup import Kept, TrialSetup
from raysearch.trainables.start import schedule_of

_MOST_BESIDE = 100  # in a bucket, where to look into each takes longer than to train a small network
_TRAINS = ("raysearch", "torch", "torch-pruning", "numpy")


def made_of(conditions: Conditions, described: Mapping[str, Any], maximize: Mapping[str, bool]) -> str:
    """What a run's references are made of, as a digest; empty where their code is not found.

    Data that a task reads are not in it: whoever changes them gives the runs another folder.

    Args:
        conditions: of the run.
        described: its study.
        maximize: which way the task's metrics are better.
    """
    source = conditions.task.source
    code = code_of(source) if source is not None else None
    if source is None or code is None:
        return ""
    software = provenance()["software"]
    whole = {
        "task": {k: v for k, v in source.items() if k != "module_folder"},
        "code": code,
        "maximize": dict(maximize),
        "parent": described["parent"],
        "epochs": conditions.epochs,
        "seed": conditions.seed,
        "software": {name: software.get(name) for name in _TRAINS},
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def code_of(source: Mapping[str, Any]) -> str | None:
    """The digest of the modules that make a task: the one named, and those beside it that it imports.

    Returns:
        Empty where the task is raysearch's own; None where the module's file is not found.
    """
    if "import" not in source:
        return ""
    module = str(source["import"]).partition(":")[0].replace(".", "/")
    place = Path(str(source.get("module_folder", ".")))
    named = next((f for f in (place / f"{module}.py", place / module / "__init__.py") if f.is_file()), None)
    if named is None:
        return None
    digest = hashlib.sha256()
    for file in sorted(_imported(named, (place, named.parent))):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _imported(named: Path, places: Sequence[Path]) -> set[Path]:
    """A module's file, and of those in some places all that it imports, by itself or by another."""
    found: set[Path] = set()
    left = [named.resolve()]
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += _imports_of(file, places)
    return found


def _imports_of(file: Path, places: Sequence[Path]) -> Iterator[Path]:
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError):  # importing it says what is wrong
        return
    for node in nodes:
        names, roots = [], places
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" if node.module else a.name for a in node.names]
            roots = [file.parents[node.level - 1]] if node.level else places
        for parts in (name.split(".") for name in names):
            for root, length in itertools.product(roots, range(1, len(parts) + 1)):
                stem = root.joinpath(*parts[:length])
                candidates = (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")
                yield from (c.resolve() for c in candidates if c.is_file())


def kept_references(setup: TrialSetup, digest: str) -> dict[str, Kept]:
    """The references, by name, that runs beside a set-up's have made of the same; of each the latest.

    One whose training was cut short, for the time was over there, is none of them, nor is what was trained on
    from it.
    """
    found: dict[str, Kept] = {}
    for other in _runs_beside(setup.folder, digest) if digest else ():
        for trial in _made_in(other, setup):
            weights = other / "references" / f"{trial.name}.safetensors"
            if storage.exists(weights):
                found[trial.name] = Kept(str(weights), trial.reports)
    return found


def _made_in(folder: Place, setup: TrialSetup) -> list[TrialRecord]:
    """The references of somebody else's run that were trained to their ends."""
    made = [
        trial
        for trial in _trials_of(folder)
        if trial.role == "reference" and trial.outcome == "finished" and _is_trained(trial, setup)
    ]
    begins = any(trial.name == "parent" for trial in made)
    return [trial for trial in made if begins or trial.name in setup.from_scratch]


def _is_trained(trial: TrialRecord, setup: TrialSetup) -> bool:
    """Whether nothing was left to train where a reference was exported."""
    config = setup.references.get(trial.name)
    curve = {step: values for step, values in trial.reports.items() if step < setup.last_step(trial.name)}
    if config is None or not curve:
        return False
    training = setup.space.variant(config).plan.training
    return schedule_of(setup, trial.name, training, setup.epochs).is_done(curve)


def _trials_of(folder: Place) -> list[TrialRecord]:
    """The trials of somebody else's run; none where its journal is damaged."""
    try:
        return list(RunRecord.load(folder).trials.values())
    except (UserError, OSError, StorageError, ValueError, KeyError):
        return []


def _runs_beside(folder: Place, digest: str) -> list[Place]:
    """Runs in the same folder whose references are made of the same, the oldest first."""
    names = [name for name in storage.names(folder.parent) if name != folder.name]
    if isinstance(folder, Remote) and len(names) > _MOST_BESIDE:
        return []
    beside = (folder.parent / name for name in names)
    begun = {other: head["time"] for other in beside for head in _heads(other)
             if head.get("references") == digest}  # fmt: skip
    return sorted(begun, key=lambda other: begun[other])


def _heads(folder: Place) -> Iterator[Mapping[str, Any]]:
    """The first line of a run's journal; none where it is damaged, of a later version, or somebody else's."""
    with contextlib.suppress(UserError, OSError, StorageError, UnicodeDecodeError):
        yield from itertools.islice(journal.read(folder), 1)
