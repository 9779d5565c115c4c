"""Divisions with proven bounds: separable budgets, branch and bound, the ends of a front."""
