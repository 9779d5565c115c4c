"""Dividing a pruning budget over the branches of a network: response curves, proven allocations, one ratio.

``instances``, ``rewards`` and ``study_methods`` are modules to import where they are wanted; the plots are
``raysearch.reporting.allocation_plots``.
"""

from raysearch.allocation.allocate import Allocation, allocate, describe
from raysearch.allocation.curves import Curve, parse, polynomial
from raysearch.allocation.fitting import fit
from raysearch.allocation.importance_inverse import InverseAllocation, importance_inverse
from raysearch.allocation.one_ratio import BestRatio, RatioProblem, cma_es_ratio, search_ratio
from raysearch.allocation.problem import Branch, Problem, normalised
from raysearch.allocation.redistribution import Redistribution, redistribute
from raysearch.allocation.relaxation import Relaxation
from raysearch.allocation.sweeps import branches_of, importances_left_out

__all__ = [
    "Allocation",
    "BestRatio",
    "Branch",
    "Curve",
    "InverseAllocation",
    "Problem",
    "RatioProblem",
    "Redistribution",
    "Relaxation",
    "allocate",
    "branches_of",
    "cma_es_ratio",
    "describe",
    "fit",
    "importance_inverse",
    "importances_left_out",
    "normalised",
    "parse",
    "polynomial",
    "redistribute",
    "search_ratio",
]
