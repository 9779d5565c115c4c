from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raysearch.pareto import (
    Standing,
    check_order,
    epsilon_net_order,
    hypervolume,
    hypervolume_order,
    knee,
    non_dominated,
    priority,
    ranks,
)

VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, 0.5, -1.0, math.nan, math.inf, -math.inf, 1e308, -1e308])
VIOLATIONS = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, math.inf, math.nan])


@st.composite
def populations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, m = draw(st.integers(1, 25)), draw(st.integers(1, 4))
    costs = draw(arrays(np.float64, (n, m), elements=VALUES))
    return costs, draw(arrays(np.float64, n, elements=VIOLATIONS))


def worst(array: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(array), np.inf, array)


def dominates(a: tuple[np.ndarray, float], b: tuple[np.ndarray, float]) -> bool:
    """Constraint domination, straight from its definition."""
    if a[1] > 0 or b[1] > 0:
        return a[1] < b[1]
    return bool((a[0] <= b[0]).all() and (a[0] < b[0]).any())


def ranks_by_definition(costs: np.ndarray, violations: np.ndarray) -> list[int]:
    rows = list(zip(worst(costs), worst(violations).tolist(), strict=True))
    result, left, rank = [-1] * len(rows), set(range(len(rows))), 0
    while left:
        front = {i for i in left if not any(dominates(rows[j], rows[i]) for j in left)}
        for i in front:
            result[i] = rank
        left -= front
        rank += 1
    return result


@given(populations())
def test_ranks_follow_the_definition(population):
    assert ranks(*population).tolist() == ranks_by_definition(*population)


@given(populations(), st.randoms())
def test_ranks_do_not_depend_on_the_order_of_rows(population, random):
    costs, violations = population
    order = list(range(len(costs)))
    random.shuffle(order)
    assert (ranks(costs[order], violations[order]) == ranks(costs, violations)[order]).all()


@given(populations())
def test_priority_is_a_permutation_in_the_order_of_ranks(population):
    order = priority(*population)
    assert sorted(order.tolist()) == list(range(len(order)))
    assert (np.diff(ranks(*population)[order]) >= 0).all()


@given(populations(), st.randoms())
def test_priority_depends_on_values_only(population, random):
    costs, violations = population
    order = list(range(len(costs)))
    random.shuffle(order)
    ordered = costs[priority(costs, violations)]
    shuffled = costs[order][priority(costs[order], violations[order])]
    np.testing.assert_array_equal(worst(ordered), worst(shuffled))


@given(populations())
def test_a_row_that_dominates_all_comes_first(population):
    costs, violations = population
    costs = np.vstack([costs, np.nanmin(np.append(worst(costs), 0.0)) - np.ones(costs.shape[1])])
    if np.isneginf(costs[-1]).any() or (costs[:-1] == costs[-1]).any():
        return
    assert priority(costs, np.append(violations, 0.0))[0] == len(costs) - 1


@given(arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=VALUES))
def test_epsilon_net_order_is_a_permutation(costs):
    assert sorted(epsilon_net_order(costs).tolist()) == list(range(len(costs)))


def test_epsilon_net_takes_the_balanced_row_then_the_ends():
    costs = np.column_stack([np.arange(9.0), np.arange(9.0)[::-1]])
    costs[4] = [3.9, 3.9]
    order = epsilon_net_order(costs).tolist()
    assert order[0] == 4
    assert set(order[1:3]) == {0, 8}
    assert set(order[3:5]) == {2, 6}


def test_epsilon_net_leaves_duplicates_for_last():
    costs = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.4, 0.4]])
    assert epsilon_net_order(costs).tolist() == [3, 0, 2, 1]


def test_epsilon_net_of_a_large_front_covers_it_evenly():
    x = np.sort(np.random.default_rng(0).random(1000))
    order = epsilon_net_order(np.column_stack([x, 1 - x]))
    assert sorted(order.tolist()) == list(range(1000))
    assert np.diff(np.sort(x[order[:32]])).max() < 2 / 31
    assert len(set(order[:500].tolist())) == 500


def test_non_dominated_leaves_out_infeasible_and_unknown_rows():
    costs = np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [0.0, 0.0], [math.nan, 0.0], [1.0, 2.0]])
    violations = np.array([0, 0, 0, 0.1, 0, 0])
    assert non_dominated(costs, violations).tolist() == [True, True, False, False, False, True]


@given(populations())
def test_non_dominated_rows_are_of_rank_zero_where_all_is_known(population):
    costs, violations = population
    costs = np.where(np.isnan(costs), 5.0, costs)
    expected = (ranks(costs, violations) == 0) & (violations <= 0)
    assert (non_dominated(costs, violations) == expected).all()


def test_empty_populations():
    none, flat = np.empty((0, 2)), np.empty(0)
    assert (
        ranks(none, flat).tolist()
        == priority(none, flat).tolist()
        == non_dominated(none, flat).tolist()
        == []
    )
    assert epsilon_net_order(none).tolist() == []
    assert hypervolume(none, [1.0, 1.0]) == 0.0


def test_hypervolume_of_a_staircase():
    assert hypervolume([[0.0, 1.0], [1.0, 0.0]], [2.0, 2.0]) == pytest.approx(3.0)
    assert hypervolume([[0.0, 2.0]], [2.0, 2.0]) == 0.0
    assert hypervolume([[0.5]], [2.0]) == pytest.approx(1.5)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_hypervolume_passes_over_rows_that_are_not_finite(odd):
    assert hypervolume([[1.0, 1.0], [0.0, odd]], [2.0, 2.0]) == pytest.approx(1.0)


@given(populations())
def test_hypervolume_never_falls_when_a_row_is_added(population):
    costs = np.clip(np.nan_to_num(population[0], nan=9.0), -9, 9)
    reference = np.full(costs.shape[1], 2.0)
    assert hypervolume(costs, reference) >= hypervolume(costs[:-1], reference) - 1e-9


def test_knee_is_the_balanced_row():
    assert knee([[0.0, 10.0], [1.0, 3.0], [9.0, 2.0], [10.0, 0.0]]) == 1
    assert knee([[0.0, math.nan], [1.0, 1.0], [math.inf, 0.5]]) == 1
    assert knee([[4.0]]) == 0


def test_knee_of_nothing_is_refused():
    with pytest.raises(ValueError, match="empty front"):
        knee(np.empty((0, 2)))


GOLDEN_FRONT = [(0.01, 0.19), (0.22, 0.16), (0.32, 0.15), (0.37, 0.0)]
GOLDEN_PRIORITY = [16, 18, 27, 10, 48, 11, 57, 5]


def test_golden_front_of_a_seeded_toy_problem():
    """A guard for refactors: changing these rows is a decision, not an accident."""
    rng = np.random.default_rng(7)
    costs = rng.random((60, 2)).round(2)
    violations = np.maximum(0, 0.2 - costs.sum(axis=1)).round(3)
    front = costs[non_dominated(costs, violations)]
    assert sorted(map(tuple, front.tolist())) == GOLDEN_FRONT
    assert priority(costs, violations)[:8].tolist() == GOLDEN_PRIORITY


def test_hypervolume_order_is_by_what_each_point_alone_adds():
    front = np.array([[0.0, 1.0], [0.45, 0.55], [0.5, 0.5], [0.2, 0.3], [1.0, 0.0]])
    reference = np.full(2, 1.1)
    whole = hypervolume(front, reference)
    adds = [whole - hypervolume(np.delete(front, i, axis=0), reference) for i in range(len(front))]
    order = hypervolume_order(front)
    assert order[0] == 3
    assert [round(adds[i], 9) for i in order] == sorted((round(a, 9) for a in adds), reverse=True)


@given(populations())
def test_hypervolume_order_names_every_row_once(population):
    assert sorted(hypervolume_order(population[0]).tolist()) == list(range(len(population[0])))


def test_of_equal_points_one_keeps_its_place():
    front = np.array([[0.0, 1.0], [0.2, 0.3], [0.2, 0.3], [1.0, 0.0]])
    assert hypervolume_order(front)[0] == 1


@pytest.mark.parametrize("order", ["epsilon_net", "hypervolume"])
@given(population=populations(), count=st.integers(1, 25))
def test_standing_answers_as_the_whole_order_does(order, population, count):
    first = priority(*population, order)[:count].tolist()
    standing = Standing(*population, order)
    rows = len(population[0])
    assert [row for row in range(rows) if standing.among_first(row, count)] == sorted(first)
    assert list(standing.first_of(np.ones(rows, dtype=np.bool_), count)) == first


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match=r"order is 'luck'.*epsilon_net, hypervolume"):
        check_order("luck")
