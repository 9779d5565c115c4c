"""The command ``raysearch check``: whether a study can run, and what of its network may be compressed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from raysearch.cli.output import Json, Overrides, StudyPath, one_sentence, print_json

if TYPE_CHECKING:
    from raysearch.runs.preflight import Findings
    from raysearch.sweeps.plan import Sweep


def check(file: StudyPath, overrides: Overrides = None, as_json: Json = False) -> None:
    """Validate a study file, for a sweep where it has no space; nothing is trained."""
    with one_sentence(as_json):
        from raysearch.runs.preflight import check_deployable, check_places, check_sendable
        from raysearch.study import TRIALS, Study, study_of
        from raysearch.study_file.build import load
        from raysearch.sweeps.sweep import plan_of
        from raysearch.trainables.data.batches import count

        study_file = load(file, overrides or ())
        is_search = any(study_file.space.model_dump().values())
        plan: Study | Sweep = study_of(study_file) if is_search else plan_of(study_file)
        work = plan.work
        task = work.conditions.task
        check_sendable(task)
        places = check_places(work.conditions.targets)
        findings = check_deployable(work.conditions, work.space)
        splits = {name: count(getattr(task, name)) for name in ("train", "validation", "test")}
    searched = sorted(_leaves(work.described["space"]))
    document = {
        "study": str(file),
        "task": task.name,
        "examples": splits,
        "searched": searched,
        "objectives": study_file.objectives,
        "constraints": study_file.constraints,
        "targets": [target.name for target in work.conditions.targets],
        "trials": study_file.search.num_trials or (None if study_file.search.max_minutes else TRIALS),
        **asdict(findings),
        "places": places,
    }
    if as_json:
        print_json(document)
        return
    sizes = ", ".join(f"{count} {name}" for name, count in splits.items())
    typer.echo(f"{file} is valid: {task.name} ({sizes}) on {', '.join(document['targets'])}")
    if isinstance(plan, Study):
        typer.echo(f"{len(searched)} settings are searched: {', '.join(searched)}")
    else:
        parts, points = ", ".join(plan.parts), len(plan.points.configs)
        typer.echo(f"a sweep has {points} points, over {parts}; a search needs a space")
    _show_findings(findings)
    for remark in places:
        typer.echo(remark)


def _show_findings(findings: Findings) -> None:
    """What may be compressed, what stays in float, and what a trial takes."""
    if findings.pruned:
        typer.echo(f"may be pruned: {', '.join(findings.pruned)}")
    if findings.quantized:
        typer.echo(f"may be quantised: {', '.join(findings.quantized)}")
    for remark in findings.remarks:
        typer.echo(f"the most compressed network: {remark}")
    typer.echo(f"a trial takes about {findings.seconds:.0f} s and {findings.memory_mb:.0f} MB")


def _leaves(space: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The searched settings of a space in the study file's form: what ends in a domain."""
    from raysearch.study_file.space_text import DOMAINS

    for key, value in space.items():
        if isinstance(value, Mapping):
            if len(value) == 1 and next(iter(value)) in DOMAINS:
                yield f"{prefix}{key}"
            else:
                yield from _leaves(value, f"{prefix}{key}/")
