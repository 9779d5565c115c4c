"""Golden fronts: what a seeded simulation found, kept as a file, so that a refactor that changes it shows.

    check_front(Path("golden/mine.json"), front_of(ZDT1, searcher, scheduler, budget=200))

A front that should change is written anew with ``write_front``, and the difference is read before it is kept.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.schedulers.base import Deciding
from raysearch.searchers.base import Suggesting
from raysearch.simulation import simulate
from raysearch.testing.toys import Toy, costs_of

# Wide enough for another machine's last digits, far below what any change of an algorithm moves.
_TOLERANCE = 1e-9


def front_of(
    toy: Toy, searcher: Suggesting, scheduler: Deciding, *, budget: float, workers: int = 4
) -> NDArray[np.float64]:
    """The front that a method finds until ``budget`` is spent, as costs of shape (k, m), sorted."""
    return costs_of(toy, simulate(toy.problem, searcher, scheduler, workers=workers, max_cost=budget))


def write_front(path: Path, front: ArrayLike) -> None:
    """Keep a front, shape (k, m), as JSON, a row a line."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in np.asarray(front).tolist())
    path.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def check_front(path: Path, front: ArrayLike) -> None:
    """Check that a front, shape (k, m), is the one kept.

    Raises:
        AssertionError: it is another, or none is kept.
    """
    if not path.is_file():
        raise AssertionError(f"{path} does not exist: keep the front with write_front")
    kept, front = np.array(json.loads(path.read_text(encoding="utf-8"))), np.asarray(front)
    if kept.shape != front.shape:
        raise AssertionError(f"the front of {path.name} has shape {front.shape}, kept is {kept.shape}")
    moved = int((~np.isclose(kept, front, rtol=_TOLERANCE, atol=_TOLERANCE)).any(axis=1).sum())
    if moved:
        raise AssertionError(f"the front of {path.name} differs in {moved} of {len(kept)} points")
