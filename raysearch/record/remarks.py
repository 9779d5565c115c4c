"""What the figures of a run do not say by themselves: goals that tell nothing, a space that is used up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from raysearch.basics.names import name_of_target
from raysearch.objectives import Objective
from raysearch.record.run_record import LIMITS, RunRecord
from raysearch.record.schema import Event
from raysearch.record.scores import Scores, final_front, goals_of, is_complete
from raysearch.record.ties import Outdone, outdone

_MANY = 5  # trials that are alike: fewer may be so by chance


def remarks(record: RunRecord) -> list[str]:
    """Sentences on a run, none where there is nothing to say."""
    scores = Scores(record)
    about = (
        _about_limits(record),
        about_code(record),
        _about_later_targets(record),
        _about_objectives(record),
        _about_space(record),
        _about_hypervolume(record, scores),
        _about_ties(record, scores),
        _about_load(record, scores),
    )
    return [remark for found in about for remark in found]


def about_code(record: RunRecord, since: Event | None = None) -> list[str]:
    """A sentence for each session that began with other code of the task than the one before it.

    Sessions of earlier versions do not say it: they are passed over.

    Args:
        record: the run.
        since: only of this session and those after it; None: of all.
    """
    found, known, wanted = [], "", since is None
    for session in record.sessions:
        code, wanted = session.get("code", known), wanted or session is since
        if wanted and known and code != known:
            ended = sum(t.ended is not None and t.ended <= session["time"] for t in record.searched())
            module = record.header["study"]["task"].get("import", "its module")
            found.append(
                f"After {_trials(ended)} the code of the task was changed ({module}, or what it imports): "
                "figures from before and after are of different code, and are compared all the same."
            )
        known = code
    return found


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def why_no_front(record: RunRecord) -> str:
    """Why no searched trial is on the front, in a sentence or two."""
    goals = goals_of(record)
    complete = [t for t in record.searched() if is_complete(t, goals)]
    outcomes = [t.outcome for t in record.searched()]
    if not complete:
        stopped, failed = outcomes.count("stopped"), outcomes.count("failed")
        ended = f": {stopped} stopped early, {failed} failed" if stopped or failed else " yet"
        return f"No trial is complete{ended}."
    finite = [t for t in complete if all(math.isfinite(c) for c in goals.costs(t.searched_values))]
    if not finite:
        return "No complete trial has a finite figure in every objective."
    missed = [goals_of(record, final=bool(t.final)).misses(t.values, t.step) > 0 for t in finite]
    counts = zip(goals.constraints, zip(*missed, strict=True), strict=True)
    said = ", ".join(f"{constraint} is missed by {sum(m)} of {len(finite)}" for constraint, m in counts)
    return f"No complete trial keeps the constraints yet: {said}."


def _about_limits(record: RunRecord) -> Iterator[str]:
    for change in record.changes:
        said = [
            f"{name} from {_listed(change.before[name])} to {_listed(change.after[name])}"
            for name in LIMITS
            if change.before[name] != change.after[name]
        ]
        trials, what = _trials(change.ended), "; ".join(said)
        yield f"After {trials} the limits were changed: {what}. All trials are ranked by the new ones."


def _listed(goals: Sequence[Any]) -> str:
    return f"[{', '.join(str(name_of_target(goal)) for goal in goals)}]"


def _about_later_targets(record: RunRecord) -> Iterator[str]:
    """The trials without figures on a target that came later, by the reason."""
    by_reason: dict[str, list[str]] = {}
    for trial in record.trials.values():
        for target in trial.asked:
            if not any(metric.endswith(f"/{target}") for metric in trial.later):
                notes = [note for note in trial.notes if note.startswith(f"not measured on {target}: ")]
                by_reason.setdefault(notes[-1] if notes else f"not measured on {target}", []).append(
                    trial.name
                )
    for reason, names in by_reason.items():
        yield f"{', '.join(names)}: {reason}."


def _about_objectives(record: RunRecord) -> Iterator[str]:
    goals = goals_of(record)
    for metric in goals.metrics:
        told = [t for t in record.searched() if metric in t.searched_values]
        known = {t.name: v for t in told if math.isfinite(v := float(t.searched_values[metric]))}
        unknown = len(told) - len(known)
        if unknown:
            of = f"{unknown} of the {len(told)} trials that reported it"
            yield f"{metric} had no finite value in {of}: such a trial is not on the front."
        complete = [known[t.name] for t in told if is_complete(t, goals) and t.name in known]
        if len(complete) >= _MANY and min(complete) == max(complete):
            every = f"all {len(complete)} complete trials"
            yield f"{metric} is {complete[0]:.6g} in {every}: as an objective it tells none apart."


def _about_space(record: RunRecord) -> Iterator[str]:
    last = record.sessions[-1] if record.sessions else {}
    asked, most, found = last.get("num_trials"), record.most_trials, len(record.searched())
    if last.get("action") != "finish":
        return
    if asked is not None and found < most:
        of = "" if most == asked else f", of {most:.0f} candidates"
        yield (
            f"The space is used up: it gave {found} different variants, and {asked} trials were asked "
            f"for{of}."
        )
    elif asked is None and last.get("max_minutes"):
        yield f"The space is used up: it gave {found} different variants, before the time was over."


def _about_hypervolume(record: RunRecord, scores: Scores) -> Iterator[str]:
    goals = goals_of(record)
    limits = goals.reference
    parent = record.parent
    if parent is not None and is_complete(parent, goals) and not limits:
        unknown = [m for m in goals.metrics if not math.isfinite(parent.searched_values.get(m, math.nan))]
        yield f"The hypervolume is not known: the parent has no finite {', '.join(unknown)}."
    if not scores.front or scores.hypervolume != 0:
        return
    behind = [
        f"{o} ({limits[o.metric]:.4g})"
        for o in goals.objectives
        if not any(_better(t.searched_values[o.metric], limits[o.metric], o) for t in scores.front)
    ]
    none = f", and none at all in {', '.join(behind)}" if behind else ""
    yield f"The hypervolume is 0: no variant is better than the reference point in every objective{none}."


def _about_ties(record: RunRecord, scores: Scores) -> Iterator[str]:
    goals = goals_of(record)
    front = final_front(record, scores.front)
    by_tie: dict[tuple[str, ...], list[Outdone]] = {}
    for trial in front:
        found = outdone(trial, front, goals)
        if found is not None:
            by_tie.setdefault(found.tied, []).append(found)
    for tied, pairs in by_tie.items():
        said = " nor ".join(f"{pair.name} from {pair.by}" for pair in pairs)
        which = "the latter" if len(pairs) == 1 else "the second of each pair"
        yield f"In {' and '.join(tied)} the test split cannot tell {said}; {which} is behind in nothing else."


def _about_load(record: RunRecord, scores: Scores) -> Iterator[str]:
    """Latencies of the front that were measured last while the machine did other work."""
    by_target: dict[str, list[str]] = {}
    for trial in final_front(record, scores.front):
        last = {m["target"]: m for m in trial.measurements if "target" in m}
        for target in (name for name, m in last.items() if m.get("contended")):
            by_target.setdefault(target, []).append(trial.name)
    for target, names in by_target.items():
        yield (
            f"On {target} {len(names)} of the front were measured beside another load: their latencies may "
            "be further off than their noise says. When the machine has nothing else to do, measure them "
            f"again: raysearch measure FILE -t {target}."
        )


def _better(value: float, limit: float, objective: Objective) -> bool:
    return value > limit if objective.maximize else value < limit
