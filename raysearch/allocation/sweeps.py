"""From a sweep's table of measurements to branches with fitted curves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from raysearch.allocation.curves import Curve
from raysearch.allocation.fitting import fit
from raysearch.allocation.problem import Branch, normalised
from raysearch.basics.failures import UserError
from raysearch.basics.spelling import did_you_mean


def branches_of(
    table: pd.DataFrame,
    importances: Mapping[str, float] | None = None,
    *,
    caps: Mapping[str, float] | None = None,
    kind: str = "auto",
    accuracy: Curve | None = None,
    metric: str = "accuracy",
) -> tuple[Branch, ...]:
    """A branch for each name in a sweep, in the order of their first rows.

    By its own curve a branch answers for itself alone, and the importance-weighted accuracy of several that
    are pruned is above the network's. With the curve of all branches pruned alike in each one's place, that
    weighted accuracy is the network's wherever the ratios are equal, and importances divide its loss.

    Args:
        table: a row a measurement, with ``branch``, ``ratio``, ``accuracy``, ``size_mb`` and perhaps
            ``latency_ms``.
        importances: of each branch; they are divided by their sum. Equal by default.
        caps: in MB, of some branches.
        kind: of the curves, as in ``fit``.
        accuracy: of the network with all branches pruned alike; None: each branch's own.
        metric: the column that is taken for the accuracy: any figure that is better where it is higher.

    Raises:
        ValueError: a missing column, sizes that are not known, an unknown branch, bad importances, or too
            few ratios.
    """
    needed = ("branch", "ratio", metric, "size_mb")
    missing = [c for c in needed if c not in table]
    if missing:
        columns = ", ".join(map(str, table.columns))
        raise UserError(
            f"the sweep has no column {missing[0]!r}, only {columns}: it needs {', '.join(needed)}"
        )
    if table["size_mb"].isna().any():
        raise UserError(
            "the sweep's size_mb is empty in some rows: go on with the sweep until it is complete"
        )
    names = [str(name) for name in table["branch"].unique()]
    caps, weights = caps or {}, dict(importances or dict.fromkeys(names, 1.0))
    for name in (*caps, *weights):
        if name not in names:
            raise UserError(f"branch {name!r} is not in the sweep; {did_you_mean(name, names)}")
    absent = [name for name in names if name not in weights]
    if absent:
        raise UserError(f"branch {absent[0]!r} has no importance: give one for every branch")
    shares, _ = normalised([weights[name] for name in names], names)
    groups = dict(list(table.groupby(table["branch"].astype(str), sort=False)))
    return tuple(
        _branch(
            name,
            share,
            groups[name].rename(columns={metric: "accuracy"}),
            caps.get(name, math.inf),
            kind,
            accuracy,
        )
        for name, share in zip(names, shares, strict=True)
    )


def importances_left_out(whole: float, without: Mapping[str, float]) -> dict[str, float]:
    """Importances by the accuracy that is lost when a branch is left out.

    Args:
        whole: the accuracy with all branches.
        without: the accuracy without each branch; where leaving one out does not hurt, its importance is 0.

    Returns:
        Importances that sum to 1; equal ones where no branch is missed.

    Raises:
        ValueError: no branches, or an accuracy that is not finite.
    """
    if not without or not all(math.isfinite(a) for a in (whole, *without.values())):
        raise UserError("importances need a finite accuracy with all branches and without each one")
    lost = {name: max(0.0, whole - accuracy) for name, accuracy in without.items()}
    total = sum(lost.values())
    return {name: loss / total if total else 1 / len(lost) for name, loss in lost.items()}


def _branch(
    name: str, importance: float, rows: pd.DataFrame, cap: float, kind: str, accuracy: Curve | None
) -> Branch:
    """A branch with curves through its rows."""
    metrics = ["accuracy", "size_mb", *(["latency_ms"] if "latency_ms" in rows else [])]
    fitted = {} if accuracy is None else {"accuracy": accuracy}
    for metric in (m for m in metrics if m not in fitted):
        try:
            fitted[metric] = fit(rows["ratio"], rows[metric], kind=kind)
        except ValueError as error:
            raise UserError(f"branch {name!r}, {metric}: {error}") from error
    return Branch(name, importance, fitted["accuracy"], fitted["size_mb"], fitted.get("latency_ms"), cap)
