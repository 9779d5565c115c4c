"""Order among trials that have several costs and one violation: ranks, fronts, hypervolume, knee.

Everywhere ``costs`` has shape (n, m), all minimised, and ``violations`` shape (n,), 0 where feasible. A NaN
cost or violation counts as +inf, the worst. Non-dominated sorting and hypervolume are moocore's.

References:
    Deb, K. (2000). An efficient constraint handling method for genetic algorithms. (constraint domination)
    Schmucker, R., Donini, M., Zafar, M. B., Salinas, D., & Archambeau, C. (2021). Multi-objective
        asynchronous successive halving. (the epsilon net)
    Beume, N., Naujoks, B., & Emmerich, M. (2007). SMS-EMOA: multiobjective selection based on dominated
        hypervolume. (the order by contribution)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.basics.failures import UserError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
FrontOrder = Literal["epsilon_net", "hypervolume"]

# Farthest-point picks cost one pass over the front each; a fixed number keeps the whole order n log n.
_EXACT_PICKS = 16

# Contributions are normalised as the front is; up to 3 objectives they cost n log n, then ever more.
_REFERENCE = 1.1
_MOST_OBJECTIVES = 3

# moocore 0.3.2 gives wrong ranks, or crashes, with infinite values in three and four dimensions.
_LARGEST = 1.7e308


def ranks(costs: ArrayLike, violations: ArrayLike) -> Indices:
    """The rank of each row under constraint domination, shape (n,), 0 is best.

    Feasible rows are ranked by non-dominated front. Infeasible ones come behind all of them, by violation
    alone. Equal rows have equal ranks.
    """
    costs, violations = _worst_for_nan(costs, violations)
    feasible = violations <= 0
    result: Indices = np.zeros(len(costs), dtype=np.intp)
    fronts = 0
    if feasible.any():
        result[feasible] = moocore.pareto_rank(_finite(costs[feasible]))
        fronts = int(result[feasible].max()) + 1
    if not feasible.all():
        result[~feasible] = fronts + np.unique(violations[~feasible], return_inverse=True)[1]
    return result


def epsilon_net_order(costs: ArrayLike) -> Indices:
    """The rows of one front from best to worst, so that any leading part covers the front evenly, shape (k,).

    The first is the row with the lowest sum of scaled costs; each next one is farthest from those before it
    (costs scaled to [0, 1] over the front). From the 17th on, rows follow by their distance to the first 16.
    Rows are told apart by their values only; equal rows keep the order in which they stand.
    """
    costs = np.where(np.isnan(array := np.asarray(costs, dtype=np.float64)), np.inf, array)
    if len(costs) <= 1:
        return np.arange(len(costs))
    by_value = np.lexsort(costs.T[::-1])
    scaled = np.ascontiguousarray(_scaled(costs[by_value]).T)
    distance, gaps = np.full(len(costs), np.inf), np.empty_like(scaled)
    picked = np.zeros(min(len(costs), _EXACT_PICKS), dtype=np.intp)
    pick = int(scaled.sum(axis=0).argmin())
    for i in range(len(picked)):
        picked[i] = pick
        np.subtract(scaled, scaled[:, pick, None], out=gaps)
        np.minimum(distance, np.einsum("ij,ij->j", gaps, gaps), out=distance)
        distance[pick] = -1.0
        pick = int(distance.argmax())
    rest = np.argsort(-distance, kind="stable")[: len(costs) - len(picked)]
    order: Indices = by_value[np.concatenate([picked, rest])]
    return order


def hypervolume_order(costs: ArrayLike) -> Indices:
    """The rows of one front by what each alone adds to its hypervolume, most first, shape (k,).

    Costs are scaled to [0, 1] over the front, with the reference at 1.1. Of equal rows the first counts and
    the others add nothing. From four objectives on, only the first 16 rows by epsilon net are put in order
    so, and the rest follow. Rows that add the same are told apart by their values only.
    """
    costs = np.where(np.isnan(array := np.asarray(costs, dtype=np.float64)), np.inf, array)
    if len(costs) <= 1 or costs.shape[1] == 1:
        return np.argsort(costs[:, 0], kind="stable")
    if costs.shape[1] > _MOST_OBJECTIVES:
        net = epsilon_net_order(costs)
        head, rest = net[:_EXACT_PICKS], net[_EXACT_PICKS:]
    else:
        head, rest = np.arange(len(costs)), np.arange(0)
    head = head[np.lexsort(costs[head].T[::-1])]
    unique = np.r_[True, (costs[head[1:]] != costs[head[:-1]]).any(axis=1)]
    adds = np.zeros(len(head))
    points = np.ascontiguousarray(_scaled(costs[head[unique]]))
    adds[unique] = moocore.hv_contributions(points, ref=np.full(costs.shape[1], _REFERENCE))
    return np.concatenate([head[np.argsort(-adds, kind="stable")], rest])


_ORDERS: dict[FrontOrder, Callable[[ArrayLike], Indices]] = {
    "epsilon_net": epsilon_net_order,
    "hypervolume": hypervolume_order,
}


def check_order(order: str) -> None:
    """Refuse a name that is no order inside a front.

    Raises:
        ValueError: it is neither "epsilon_net" nor "hypervolume".
    """
    if order not in _ORDERS:
        raise UserError(f"order is {order!r}: inside a front trials stand by one of {', '.join(_ORDERS)}")


def priority(costs: ArrayLike, violations: ArrayLike, order: FrontOrder = "epsilon_net") -> Indices:
    """All rows from best to worst: by rank, then by ``order`` inside a rank, shape (n,) of indices."""
    costs = np.asarray(costs, dtype=np.float64)
    rank = ranks(costs, violations)
    if len(rank) == 0:
        return rank
    by_rank = np.argsort(rank, kind="stable")
    starts = np.flatnonzero(np.diff(rank[by_rank])) + 1
    return np.concatenate([front[_ORDERS[order](costs[front])] for front in np.split(by_rank, starts)])


class Standing:
    """How rows stand by ``priority``; a front is put in order only where a question needs it.

    Args:
        costs: shape (n, m), n >= 1.
        violations: shape (n,).
        order: what counts inside a front.
    """

    def __init__(self, costs: ArrayLike, violations: ArrayLike, order: FrontOrder = "epsilon_net") -> None:
        self._costs = np.asarray(costs, dtype=np.float64)
        self._rank = ranks(self._costs, violations)
        self._order = _ORDERS[order]

    def among_first(self, row: int, count: int) -> bool:
        """Whether a row is among the first ``count``."""
        front = np.flatnonzero(self._rank == self._rank[row])
        places = self._places(self._rank[row], count)
        if places <= 0 or len(front) <= places:
            return places > 0
        return row in front[self._order(self._costs[front])[:places]]

    def first_of(self, wanted: NDArray[np.bool_], count: int) -> Iterator[int]:
        """The ``wanted`` rows, shape (n,), that are among the first ``count``, best first."""
        for rank in np.unique(self._rank[wanted]):
            places = self._places(rank, count)
            if places <= 0:
                return
            front = np.flatnonzero(self._rank == rank)
            first = front[self._order(self._costs[front])[:places]]
            yield from first[wanted[first]].tolist()

    def _places(self, rank: int, count: int) -> int:
        """How many of the first ``count`` are left for the rows of this rank."""
        return count - int((self._rank < rank).sum())


def non_dominated(costs: ArrayLike, violations: ArrayLike) -> NDArray[np.bool_]:
    """Which rows form the front: feasible, without NaN, and dominated by none such; equal rows all count."""
    costs = np.asarray(costs, dtype=np.float64)
    violations = np.asarray(violations, dtype=np.float64)
    front: NDArray[np.bool_] = (violations <= 0) & ~np.isnan(costs).any(axis=1)
    if front.any():
        front[front] = moocore.is_nondominated(_finite(costs[front]), keep_weakly=True)
    return front


def hypervolume(costs: ArrayLike, reference: ArrayLike) -> float:
    """The volume that the rows dominate up to the reference point, shape (m,); 0 for none.

    Rows that are not finite, or not better than the reference in every cost, add nothing.
    """
    reference = np.asarray(reference, dtype=np.float64)
    costs = np.asarray(costs, dtype=np.float64).reshape(-1, len(reference))
    inside = np.isfinite(costs).all(axis=1) & (costs < reference).all(axis=1)
    return float(moocore.hypervolume(costs[inside], ref=reference)) if inside.any() else 0.0


def knee(costs: ArrayLike) -> int:
    """The balanced choice of a front: the row nearest to the ideal point, costs scaled to [0, 1].

    Raises:
        ValueError: there is no row.
    """
    costs = np.asarray(costs, dtype=np.float64)
    if len(costs) == 0:
        raise ValueError("knee of an empty front: give at least one row of costs")
    distance = np.square(_scaled(np.where(np.isnan(costs), np.inf, costs))).sum(axis=1)
    return int(np.lexsort((*costs.T[::-1], distance))[0])


def _worst_for_nan(costs: ArrayLike, violations: ArrayLike) -> tuple[Floats, Floats]:
    costs = np.asarray(costs, dtype=np.float64)
    violations = np.asarray(violations, dtype=np.float64)
    return np.where(np.isnan(costs), np.inf, costs), np.where(np.isnan(violations), np.inf, violations)


def _finite(costs: Floats) -> Floats:
    return np.clip(costs, -_LARGEST, _LARGEST)


def _scaled(costs: Floats) -> Floats:
    """Each column to [0, 1] over its finite values; +inf becomes 2 and -inf becomes -1, a range away."""
    finite = np.isfinite(costs)
    if finite.all():
        low, high = costs.min(axis=0), costs.max(axis=0)
    else:
        low = np.where(finite, costs, np.inf).min(axis=0)
        high = np.where(finite, costs, -np.inf).max(axis=0)
        known = low <= high
        low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
    # Halved before subtracting: the range of two finite numbers may overflow.
    span = np.where(high > low, high / 2 - low / 2, 1.0)
    scaled: Floats = (np.where(finite, costs, 0.0) / 2 - low / 2) / span
    return scaled if finite.all() else np.where(finite, scaled, np.where(costs > 0, 2.0, -1.0))
