"""The allocation file: curves or a sweep's measurements, importances and limits; one sentence per mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, ValidationError, field_validator, model_validator

from raysearch.allocation import instances
from raysearch.allocation.curves import Curve, parse
from raysearch.allocation.fitting import fit
from raysearch.allocation.problem import Branch, Problem, normalised
from raysearch.allocation.sweeps import branches_of, importances_left_out
from raysearch.basics.failures import MissingFile, UserError
from raysearch.basics.files import read_text
from raysearch.basics.spelling import did_you_mean
from raysearch.study_file.schema import Section
from raysearch.study_file.sentences import sentences
from raysearch.study_file.yaml_text import override_key, parse_yaml

LEFT_OUT, ALONE = "left_out", "alone"
KINDS = ("accuracy", "size_mb", "latency_ms")

_Curves = dict[str, Curve]
_INSTANCES: dict[str, Callable[[], _Curves]] = {
    "instance_a": lambda: {
        "accuracy": instances.accuracy_a(),
        "size_mb": instances.size_a(),
        "latency_ms": instances.time_a(),
    },
    "instance_b": lambda: {
        "accuracy": instances.accuracy_a(),
        "size_mb": instances.size_b(),
        "latency_ms": instances.time_b(),
    },
}


class AllocationFile(Section):
    """A pruning budget to divide over the branches (views, stages, layers) of a network."""

    curves: Any = Field(
        default=None,
        description="accuracy, size_mb and perhaps latency_ms as formulas or coefficients, for all "
        "branches or by branch; or a study's: instance_a, instance_b",
    )
    measurements: str | None = Field(
        default=None, description="a sweep's CSV: branch, ratio, accuracy, size_mb and perhaps latency_ms"
    )
    accuracy: Literal["together", "alone"] | None = Field(
        default=None,
        description="what a branch's curve is measured on, the network with all branches pruned together or "
        "with it alone; null: together where the sweep has it",
    )
    metric: str = Field(
        default="accuracy",
        description="the column that is taken for the accuracy; higher must be better: r2, -rmse",
    )
    importances: Any = Field(
        default=None,
        description="shares in the weighted accuracy, a list or by branch; null: equal; left_out, alone: by "
        "what a sweep's network loses without each branch, or with it alone pruned",
    )
    caps: Any = Field(
        default=None, description="the largest MB of each branch: a number, a list or by branch"
    )
    total_cap: float | None = Field(default=None, description="the largest MB of all branches together")
    floor: float | None = Field(default=None, description="the smallest weighted accuracy, in its own unit")
    latency: Literal["parallel", "sequential"] = Field(
        default="parallel", description="branches side by side (the slowest counts) or one after another"
    )
    latency_cap: float | None = Field(default=None, description="the largest latency in ms")
    time_scales: Any = Field(
        default=None, description="what times are multiplied by: a number, a list or by branch"
    )
    points: int = Field(default=128, ge=2, description="about how many points on the front")
    latencies: int = Field(default=1, ge=1, description="at how many latencies the front is traced")

    @field_validator("curves")
    @classmethod
    def _check_curves(cls, given: Any) -> Any:
        if given is not None and not isinstance(given, (str, dict)):
            raise UserError(
                f"curves is of the type {type(given).__name__}: give one mapping for all branches, "
                "{accuracy: ..., size_mb: ...}, or such a mapping by branch, {left: {...}, right: {...}}, or "
                f"one of {', '.join(_INSTANCES)}"
            )
        return given

    @field_validator("importances", "caps", "time_scales")
    @classmethod
    def _check_numbers(cls, given: Any, info: Any) -> Any:
        if info.field_name == "importances" and given in (LEFT_OUT, ALONE):
            return given
        inside = given.values() if isinstance(given, dict) else given if isinstance(given, list) else [given]
        if given is not None and not all(type(v) in (int, float) for v in inside):
            raise UserError(f"{info.field_name} is {given!r}: give numbers, as a list or by branch")
        return given

    @model_validator(mode="after")
    def _check_source(self) -> AllocationFile:
        if (self.curves is None) == (self.measurements is None):
            both = "both are given" if self.curves is not None else "neither is given"
            raise UserError(f"curves or measurements: {both}, give one of them")
        if isinstance(self.importances, str) and self.measurements is None:
            raise UserError(
                f"importances is {self.importances!r}, which a sweep measures: give measurements, or numbers"
            )
        if self.accuracy and self.measurements is None:
            raise UserError(f"accuracy is {self.accuracy!r}, which says how to read measurements: give them")
        return self


def load(path: Path, overrides: Iterable[str] = ()) -> tuple[AllocationFile, Problem, list[str]]:
    """Read an allocation file.

    Args:
        path: the YAML file. A relative ``measurements`` is taken from the file's own folder.
        overrides: "floor=70": a key's path and its new value in YAML.

    Returns:
        What it says, the problem, and notes on what was made of it.

    Raises:
        MissingFile: there is no such file, or no such table.
        ValueError: one line per mistake.
    """
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: give an allocation file, whose measurements may be a sweep's table"
        )
    document = parse_yaml(read_text(path, "allocation file"), path.name)
    for override in overrides:
        override_key(document, override)
    try:
        file = AllocationFile.model_validate(document)
    except ValidationError as error:
        raise UserError(sentences(error, AllocationFile, "the allocation file")) from None
    problem, notes = problem_of(file, path.parent)
    return file, problem, notes


def problem_of(file: AllocationFile, base: Path) -> tuple[Problem, list[str]]:
    """The problem of a file, and notes on what was made of it."""
    branches: Sequence[Branch]
    if file.measurements is not None:
        path = base / Path(file.measurements).expanduser()
        table = _read(path, "measurements")
        accuracy, note = _accuracy(file.accuracy, file.metric, path)
        branches = branches_of(table, accuracy=accuracy, metric=file.metric)
        importances, more = _importances(file.importances, table, file.metric)
        notes = [note, more]
    else:
        branches, importances, notes = _branches(file), file.importances, []
    names = [b.name for b in branches]
    equal = [1 / len(names)] * len(names)
    given = _by_branch("importances", importances, names, default=None) or equal
    shares, note = normalised(given, names)
    notes.append(note)
    caps = _by_branch("caps", file.caps, names, default=float("inf")) or [float("inf")] * len(names)
    scales = _by_branch("time_scales", file.time_scales, names, default=1.0) or [1.0] * len(names)
    branches = tuple(
        replace(b, importance=w, cap=cap, time_scale=k)
        for b, w, cap, k in zip(branches, shares, caps, scales, strict=True)
    )
    limits = {
        name: float(value)
        for name in ("floor", "total_cap", "latency_cap")
        if (value := getattr(file, name)) is not None
    }
    return Problem(branches, latency=file.latency, metric=file.metric, **limits), [n for n in notes if n]


def _branches(file: AllocationFile) -> list[Branch]:
    """Branches with their curves alone."""
    given = file.curves
    if isinstance(given, str):
        if given not in _INSTANCES:
            raise UserError(f"curves is {given!r}; {did_you_mean(given, _INSTANCES)}")
        shared = _INSTANCES[given]()
    elif given and all(isinstance(v, Mapping) for v in given.values()):
        return [_branch(name, _parsed(f"curves.{name}", c)) for name, c in given.items()]
    else:
        shared = _parsed("curves", given or {})
    return [_branch(name, shared) for name in _names(file)]


def _branch(name: str, curves: _Curves) -> Branch:
    return Branch(str(name), 0.0, curves["accuracy"], curves["size_mb"], curves.get("latency_ms"))


def _parsed(where: str, given: Mapping[str, Any]) -> _Curves:
    """The curves of one branch, or those that all share."""
    for name in given:
        if name not in KINDS:
            raise UserError(f"{where} has an unknown key {name!r}; {did_you_mean(str(name), KINDS)}")
    for name in KINDS[:2]:
        if name not in given:
            raise UserError(f"the key {where}.{name} is missing: give a formula or coefficients")
    curves = {}
    for name, text in given.items():
        if not isinstance(text, str) and not _is_numbers(text):
            raise UserError(
                f"{where}.{name} is {text!r}: give a formula in p, or coefficients, the constant first"
            )
        try:
            curves[name] = parse(text)
        except ValueError as error:
            raise UserError(f"{where}.{name}: {error}") from None
    return curves


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(v) in (int, float) for v in value)


def _accuracy(asked: str | None, metric: str, path: Path) -> tuple[Curve | None, str]:
    """The curve of all branches pruned together, None for each branch's own, and a note that says which.

    It is a spline: through the measurements, where they fall, so that the weighted accuracy of equal ratios
    is the network's also beside the cliff that such a curve often has.

    Args:
        asked: the file's key.
        metric: the column.
        path: the table of a sweep, which has the points of all together beside it.
    """
    beside = path.with_name(f"{path.stem}_together{path.suffix}")
    if asked == "alone" or (asked is None and not beside.is_file()):
        return None, f"{metric} is of branches pruned alone: with several pruned, the network's is lower"
    table = _read(beside, "accuracy: together")
    try:
        curve = fit(table["ratio"], table[metric], kind="spline")
    except KeyError as error:
        raise UserError(f"accuracy: together: {beside} has no column {error}") from None
    except ValueError as error:
        raise UserError(f"accuracy: together: {beside}: {error}; finish the sweep, or say alone") from None
    return curve, f"{metric} is of all branches pruned together, by {beside.name}"


def _importances(given: Any, table: pd.DataFrame, metric: str) -> tuple[Any, str]:
    """Importances by what a sweep's network loses where that is asked, and a note where it loses nothing."""
    if given not in (LEFT_OUT, ALONE):
        return given, ""
    if given == LEFT_OUT and LEFT_OUT not in table:
        raise UserError(
            f"importances is {LEFT_OUT!r}, but the measurements have no column {LEFT_OUT!r}: sweep.json says "
            "why, or give numbers"
        )
    branches = table.sort_values("ratio").groupby("branch", sort=False)
    if given == LEFT_OUT:
        lost, what = branches[LEFT_OUT].first(), "loses nothing to a branch that is left out"
    else:
        accuracy = branches[metric]
        lost = accuracy.first() - accuracy.apply(lambda rows: rows.iloc[1:].mean())
        what = "loses nothing to a branch pruned alone"
    note = "" if (lost > 0).any() else f"the network {what}: importances are equal"
    return importances_left_out(0.0, {str(name): -float(loss) for name, loss in lost.items()}), note


def _names(file: AllocationFile) -> list[str]:
    """The branches that share their curves, named and counted by what is given for each."""
    values = {name: getattr(file, name) for name in ("importances", "caps", "time_scales")}
    given = {name: v for name, v in values.items() if v and isinstance(v, (list, dict))}
    if not given:
        raise UserError("importances is missing: where branches share curves it says how many there are")
    lists = {name: len(v) for name, v in given.items() if isinstance(v, list)}
    if len(set(lists.values())) > 1:
        counts = " and ".join(f"{name} has {count} numbers" for name, count in lists.items())
        raise UserError(f"{counts}: give one a branch")
    named = next((v for v in given.values() if isinstance(v, dict)), None)
    return [str(name) for name in named] if named else [str(i) for i in range(max(lists.values()))]


def _by_branch(key: str, given: Any, names: Sequence[str], *, default: float | None) -> list[float]:
    """A number for each branch; empty where none is given.

    Args:
        key: of the file, for messages.
        given: a number for all, a list, a mapping by branch, or None.
        names: the branches.
        default: of a branch that a mapping leaves out; None where it must not.
    """
    if given is None:
        return []
    if isinstance(given, (int, float)):
        return [float(given)] * len(names)
    if isinstance(given, list):
        if len(given) != len(names):
            raise UserError(f"{key} has {len(given)} numbers, and there are {len(names)} branches")
        return [float(v) for v in given]
    by_name = {str(name): float(value) for name, value in given.items()}
    _check_names(key, by_name, names)
    absent = [name for name in names if name not in by_name]
    if absent and default is None:
        raise UserError(f"{key} has none of branch {absent[0]!r}: give one for every branch")
    return [by_name.get(name, default or 0.0) for name in names]


def _check_names(key: str, given: Iterable[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise UserError(f"{key} names the branch {name!r}; {did_you_mean(name, names)}")


def _read(path: Path, key: str) -> pd.DataFrame:
    if not path.is_file():
        raise MissingFile(f"{key}: {path} does not exist")
    try:
        table = pd.read_csv(path, dtype={"branch": str})
    except (ValueError, OSError) as error:  # pandas' own are ValueErrors
        raise UserError(f"{key}: {path} is not a CSV table: {error}") from None
    if table.empty:
        raise UserError(f"{key}: {path} has no rows")
    return table
