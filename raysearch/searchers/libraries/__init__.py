"""Searchers of other libraries: Optuna, BoTorch, cma."""
