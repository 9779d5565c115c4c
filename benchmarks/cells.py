"""The operators of the networks of NAS-Bench-201 (Dong & Yang, ICLR 2020), by their cells.

A stem, three stages of five equal cells with 16, 32 and 64 channels on images of 32, 16 and 8 a side, and a
residual block before each of the last two. A cell has four nodes, and an operator on each of its six edges.
They are listed as the network is written: an edge of zeros is a product, and operators that nothing reads are
there, idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raysearch.backends.predictor.operators import Operator, products

EDGES = ("op_01", "op_02", "op_12", "op_03", "op_13", "op_23")
NODES = 4
STAGES = ((16, 32), (32, 16), (64, 8))
"""Channels, and pixels a side."""
REPEATS, CLASSES, FLOAT = 5, 10, 4


def operators(cell: Sequence[str]) -> list[Operator]:
    """The operators of the network with this cell, its edges in the order of ``EDGES``."""
    found = [_convolution(3, 16, 3, 32)]
    for channels, side in STAGES:
        if channels != STAGES[0][0]:
            half = channels // 2
            found += [_convolution(half, channels, 3, side), _convolution(channels, channels, 3, side)]
            found += [_pooling(half, side), _convolution(half, channels, 1, side), _sum(channels, side)]
        found += _cell(cell, channels, side)
    channels, side = STAGES[-1]
    pool = Operator("GlobalAveragePool", moved=float(FLOAT * channels * (side**2 + 1)))
    head = Operator("Gemm", float(channels * CLASSES), moved=float(FLOAT * channels * CLASSES))
    return [*found, pool, head]


def _cell(cell: Sequence[str], channels: int, side: int) -> list[Operator]:
    edges = {(int(name[3]), int(name[4])): operator for name, operator in zip(EDGES, cell, strict=True)}
    needed = {NODES - 1}
    for node in range(NODES - 2, -1, -1):
        if any(edges[node, to] != "none" for to in range(node + 1, NODES) if to in needed):
            needed.add(node)
    found = []
    for (_, to), operator in edges.items():
        idle = to not in needed
        found += [_with(one, idle) for one in _edge(operator, channels, side)]
    for node in range(2, NODES):
        found += [_with(_sum(channels, side), node not in needed)] * (node - 1)
    return found


def _edge(operator: str, channels: int, side: int) -> list[Operator]:
    if operator.startswith("nor_conv"):
        return [_convolution(channels, channels, int(operator[-1]), side)]
    if operator.startswith("avg_pool"):
        return [_pooling(channels, side)]
    return [Operator("Mul", moved=float(2 * FLOAT * channels * side**2))] if operator == "none" else []


def _with(operator: Operator, idle: bool) -> Operator:
    return replace(operator, idle=idle, times=REPEATS)


def _convolution(given: int, made: int, kernel: int, side: int) -> Operator:
    moved = FLOAT * (given * made * kernel**2 + (given + made) * side**2)
    sums = products(given, made, side**2, kernel**2)
    return Operator(f"Conv {kernel}x{kernel}", moved=float(moved), **sums)


def _pooling(channels: int, side: int) -> Operator:
    return Operator("AveragePool", moved=float(2 * FLOAT * channels * side**2))


def _sum(channels: int, side: int) -> Operator:
    return Operator("Add", moved=float(3 * FLOAT * channels * side**2))
