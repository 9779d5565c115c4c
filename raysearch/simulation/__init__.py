"""An asynchronous cluster of any size, simulated over a table, a function or the curves of an earlier run."""

from raysearch.simulation.cluster import simulate
from raysearch.simulation.problem import Problem, Report, Simulation

__all__ = ["Problem", "Report", "Simulation", "simulate"]
