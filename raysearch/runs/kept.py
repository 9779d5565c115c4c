"""References that an earlier run of the same task has trained, taken over: the same numbers without the work.

A run's first line names what its references are made of: the task, the parent, the epochs, the seed, the
code of the task's module and the versions of what trains. Runs beside it in the same folder that name the
same have trained the same networks. A trial that takes one over makes sure that it gives the metrics that
it gave there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.basics.failures import UserError
from raysearch.record import journal
from raysearch.record.journal import FILE_NAME, RunRecord
from raysearch.runs.conditions import Conditions
from raysearch.runs.provenance import provenance
from raysearch.trainables.setup import Kept

_TRAINS = ("raysearch", "torch", "torch-pruning", "numpy")


def made_of(conditions: Conditions, described: Mapping[str, Any]) -> str:
    """What a run's references are made of, as a digest; empty where the task was made in Python.

    Args:
        conditions: of the run.
        described: its study.
    """
    source = conditions.task.source
    if source is None:
        return ""
    software = provenance()["software"]
    whole = {
        "task": {k: v for k, v in source.items() if k != "module_folder"},
        "code": _code_of(source),
        "parent": described["parent"],
        "epochs": conditions.epochs,
        "seed": conditions.seed,
        "software": {name: software.get(name) for name in _TRAINS},
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def _code_of(source: Mapping[str, Any]) -> str:
    """The digest of the module that makes the task; empty where that is raysearch's own."""
    if "import" not in source:
        return ""
    module = str(source["import"]).partition(":")[0].replace(".", "/")
    file = Path(str(source.get("module_folder", "."))) / f"{module}.py"
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def kept_references(folder: Path, digest: str) -> dict[str, Kept]:
    """The references, by name, of the latest run beside a folder's that are made of the same."""
    found: dict[str, Kept] = {}
    for other in _runs_beside(folder, digest) if digest else ():
        for trial in RunRecord.load(other).trials.values():
            weights = other / "references" / f"{trial.name}.safetensors"
            if trial.role == "reference" and trial.outcome == "finished" and weights.exists():
                found[trial.name] = Kept(str(weights), trial.reports)
    return found


def _runs_beside(folder: Path, digest: str) -> list[Path]:
    """Runs in the same folder whose references are made of the same, the oldest first."""
    others = (path.parent for path in folder.parent.glob(f"*/{FILE_NAME}") if path.parent != folder)
    return sorted((o for o in others if _digest_of(o) == digest), key=lambda o: o.stat().st_mtime)


def _digest_of(folder: Path) -> str:
    try:
        return str(next(journal.read(folder), {}).get("references", ""))
    except (UserError, OSError):  # damaged, of a later version, or somebody else's
        return ""
